-- Tables of the identity service: INDIGO IAM's names, columns, keys and foreign keys, as far as
-- its token, introspection and login flows touch them (facts/iam.md section 3).
--
-- What matters for locks and certification is kept on purpose:
--   * the element collections (token_scope, authentication_holder_*, client_*) have NO primary key;
--   * client_grant_type, client_authority, client_response_type, client_resource have no index at all;
--   * token_scope is reachable by owner only, so "delete where exists" scans it;
--   * an issuance touches the parent keys client_details(id) and client_details(client_id).

-- ---------------------------------------------------------------- clients
CREATE TABLE client_details (
  id BIGINT NOT NULL AUTO_INCREMENT,
  client_id VARCHAR(256),
  client_secret TEXT,
  client_name VARCHAR(256),
  client_description VARCHAR(1024),
  access_token_validity_seconds BIGINT,
  refresh_token_validity_seconds BIGINT,
  id_token_validity_seconds BIGINT NOT NULL DEFAULT 600,
  device_code_validity_seconds BIGINT,
  reuse_refresh_tokens BOOLEAN NOT NULL DEFAULT TRUE,
  clear_access_tokens_on_refresh BOOLEAN NOT NULL DEFAULT TRUE,
  allow_introspection BOOLEAN NOT NULL DEFAULT FALSE,
  dynamically_registered BOOLEAN NOT NULL DEFAULT FALSE,
  token_endpoint_auth_method VARCHAR(256),
  token_endpoint_auth_signing_alg VARCHAR(256),
  application_type VARCHAR(256),
  subject_type VARCHAR(256),
  sector_identifier_uri TEXT,
  logo_uri TEXT,
  policy_uri TEXT,
  client_uri TEXT,
  tos_uri TEXT,
  jwks_uri TEXT,
  jwks TEXT,
  initiate_login_uri VARCHAR(2048),
  request_object_signing_alg VARCHAR(256),
  user_info_signed_response_alg VARCHAR(256),
  user_info_encrypted_response_alg VARCHAR(256),
  user_info_encrypted_response_enc VARCHAR(256),
  id_token_signed_response_alg VARCHAR(256),
  id_token_encrypted_response_alg VARCHAR(256),
  id_token_encrypted_response_enc VARCHAR(256),
  default_max_age BIGINT,
  require_auth_time BOOLEAN,
  software_id TEXT,
  software_version TEXT,
  software_statement TEXT,
  code_challenge_method VARCHAR(256),
  created_at TIMESTAMP NULL,
  PRIMARY KEY (id),
  UNIQUE KEY client_id (client_id),
  KEY cd_ci_idx (client_id)
);

CREATE TABLE client_authority (owner_id BIGINT, authority VARCHAR(256));
CREATE TABLE client_grant_type (owner_id BIGINT, grant_type VARCHAR(2000));
CREATE TABLE client_response_type (owner_id BIGINT, response_type VARCHAR(2000));
CREATE TABLE client_resource (owner_id BIGINT, resource_id VARCHAR(256));

CREATE TABLE client_scope (
  owner_id BIGINT, scope VARCHAR(2048),
  CONSTRAINT fk_client_scope_owner_id FOREIGN KEY (owner_id) REFERENCES client_details (id) ON DELETE CASCADE
);
CREATE TABLE client_redirect_uri (
  owner_id BIGINT, redirect_uri VARCHAR(2048),
  CONSTRAINT fk_client_redirect_uri_owner_id FOREIGN KEY (owner_id) REFERENCES client_details (id) ON DELETE CASCADE
);
CREATE TABLE client_claims_redirect_uri (
  owner_id BIGINT, redirect_uri VARCHAR(2048),
  CONSTRAINT fk_client_claims_redirect_uri_owner_id FOREIGN KEY (owner_id) REFERENCES client_details (id) ON DELETE CASCADE
);
CREATE TABLE client_post_logout_redirect_uri (
  owner_id BIGINT, post_logout_redirect_uri VARCHAR(2000),
  CONSTRAINT fk_client_post_logout_owner_id FOREIGN KEY (owner_id) REFERENCES client_details (id) ON DELETE CASCADE
);
CREATE TABLE client_request_uri (
  owner_id BIGINT, request_uri VARCHAR(2000),
  CONSTRAINT fk_client_request_uri_owner_id FOREIGN KEY (owner_id) REFERENCES client_details (id) ON DELETE CASCADE
);
CREATE TABLE client_default_acr_value (
  owner_id BIGINT, default_acr_value VARCHAR(2000),
  CONSTRAINT fk_client_default_acr_value_owner_id FOREIGN KEY (owner_id) REFERENCES client_details (id) ON DELETE CASCADE
);
CREATE TABLE client_contact (
  owner_id BIGINT, contact VARCHAR(256),
  CONSTRAINT fk_client_contact_owner_id FOREIGN KEY (owner_id) REFERENCES client_details (id) ON DELETE CASCADE
);

CREATE TABLE system_scope (
  id BIGINT NOT NULL AUTO_INCREMENT,
  scope VARCHAR(256) NOT NULL,
  description VARCHAR(4096),
  icon VARCHAR(256),
  restricted BOOLEAN NOT NULL DEFAULT FALSE,
  default_scope BOOLEAN NOT NULL DEFAULT FALSE,
  structured BOOLEAN NOT NULL DEFAULT FALSE,
  structured_param_description VARCHAR(256),
  PRIMARY KEY (id),
  UNIQUE KEY scope (scope)
);

-- ---------------------------------------------------------------- who authorised a token
CREATE TABLE saved_user_auth (
  id BIGINT NOT NULL AUTO_INCREMENT,
  name VARCHAR(1024),
  authenticated BOOLEAN,
  source_class VARCHAR(2048),
  PRIMARY KEY (id)
);
CREATE TABLE saved_user_auth_authority (owner_id BIGINT, authority VARCHAR(256), KEY suaa_oi_idx (owner_id));
CREATE TABLE saved_user_auth_info (
  owner_id BIGINT,
  info_key VARCHAR(256),
  info_val VARCHAR(256),
  UNIQUE KEY owner_id (owner_id, info_key)
);

CREATE TABLE authentication_holder (
  id BIGINT NOT NULL AUTO_INCREMENT,
  user_auth_id BIGINT,
  approved BOOLEAN,
  redirect_uri VARCHAR(2048),
  client_id VARCHAR(256),
  PRIMARY KEY (id),
  CONSTRAINT fk_authentication_holder_user_auth_id FOREIGN KEY (user_auth_id)
    REFERENCES saved_user_auth (id) ON DELETE CASCADE,
  CONSTRAINT fk_authentication_holder_client_id FOREIGN KEY (client_id)
    REFERENCES client_details (client_id) ON UPDATE CASCADE ON DELETE CASCADE
);
CREATE TABLE authentication_holder_authority (
  owner_id BIGINT, authority VARCHAR(256), KEY aha_oi_idx (owner_id),
  CONSTRAINT fk_aha_owner_id FOREIGN KEY (owner_id) REFERENCES authentication_holder (id) ON DELETE CASCADE
);
CREATE TABLE authentication_holder_resource_id (
  owner_id BIGINT, resource_id VARCHAR(2048), KEY ahri_oi_idx (owner_id),
  CONSTRAINT fk_ahri_owner_id FOREIGN KEY (owner_id) REFERENCES authentication_holder (id) ON DELETE CASCADE
);
CREATE TABLE authentication_holder_response_type (
  owner_id BIGINT, response_type VARCHAR(2048), KEY ahrt_oi_idx (owner_id),
  CONSTRAINT fk_ahrt_owner_id FOREIGN KEY (owner_id) REFERENCES authentication_holder (id) ON DELETE CASCADE
);
CREATE TABLE authentication_holder_extension (
  owner_id BIGINT, extension VARCHAR(2048), val VARCHAR(2048), KEY ahe_oi_idx (owner_id),
  CONSTRAINT fk_ahe_owner_id FOREIGN KEY (owner_id) REFERENCES authentication_holder (id) ON DELETE CASCADE
);
CREATE TABLE authentication_holder_scope (
  owner_id BIGINT, scope VARCHAR(2048), KEY ahs_oi_idx (owner_id),
  CONSTRAINT fk_ahs_owner_id FOREIGN KEY (owner_id) REFERENCES authentication_holder (id) ON DELETE CASCADE
);
CREATE TABLE authentication_holder_request_parameter (
  owner_id BIGINT, param VARCHAR(2048), val VARCHAR(2048), KEY ahrp_oi_idx (owner_id),
  CONSTRAINT fk_ahrp_owner_id FOREIGN KEY (owner_id) REFERENCES authentication_holder (id) ON DELETE CASCADE
);

-- ---------------------------------------------------------------- tokens
CREATE TABLE refresh_token (
  id BIGINT NOT NULL AUTO_INCREMENT,
  token_value VARCHAR(4096),
  expiration TIMESTAMP NULL,
  auth_holder_id BIGINT,
  client_id BIGINT,
  PRIMARY KEY (id),
  UNIQUE KEY rt_tvh_idx (token_value(767)),
  KEY rf_ahi_idx (auth_holder_id),
  CONSTRAINT fk_refresh_token_client_id FOREIGN KEY (client_id) REFERENCES client_details (id) ON DELETE CASCADE,
  CONSTRAINT fk_refresh_token_auth_holder_id FOREIGN KEY (auth_holder_id)
    REFERENCES authentication_holder (id) ON DELETE CASCADE
);

CREATE TABLE access_token (
  id BIGINT NOT NULL AUTO_INCREMENT,
  token_value VARCHAR(4096),
  token_value_hash CHAR(64) NOT NULL,
  expiration TIMESTAMP NULL,
  token_type VARCHAR(256),
  refresh_token_id BIGINT,
  client_id BIGINT,
  auth_holder_id BIGINT,
  approved_site_id BIGINT,
  PRIMARY KEY (id),
  UNIQUE KEY at_tvh_idx (token_value_hash),
  KEY at_tv_idx (token_value(767)),
  KEY at_exp_idx (expiration),
  KEY at_ahi_idx (auth_holder_id),
  CONSTRAINT fk_access_token_refresh_token_id FOREIGN KEY (refresh_token_id)
    REFERENCES refresh_token (id) ON DELETE CASCADE,
  CONSTRAINT fk_access_token_client_id FOREIGN KEY (client_id) REFERENCES client_details (id) ON DELETE CASCADE,
  CONSTRAINT fk_access_token_auth_holder_id FOREIGN KEY (auth_holder_id)
    REFERENCES authentication_holder (id) ON DELETE CASCADE
);

CREATE TABLE token_scope (
  owner_id BIGINT NOT NULL, scope VARCHAR(2048) NOT NULL, KEY ts_oi_idx (owner_id),
  CONSTRAINT fk_token_scope_owner_id FOREIGN KEY (owner_id) REFERENCES access_token (id) ON DELETE CASCADE
);

CREATE TABLE permission (id BIGINT NOT NULL AUTO_INCREMENT, resource_set_id BIGINT, PRIMARY KEY (id));
CREATE TABLE access_token_permissions (
  access_token_id BIGINT NOT NULL,
  permission_id BIGINT NOT NULL,
  PRIMARY KEY (access_token_id, permission_id),
  CONSTRAINT fk_atp_access_token_id FOREIGN KEY (access_token_id) REFERENCES access_token (id) ON DELETE CASCADE,
  CONSTRAINT fk_atp_permission_id FOREIGN KEY (permission_id) REFERENCES permission (id) ON DELETE CASCADE
);

-- ---------------------------------------------------------------- accounts
CREATE TABLE iam_user_info (
  id BIGINT NOT NULL AUTO_INCREMENT,
  dtype VARCHAR(31),
  givenname VARCHAR(64) NOT NULL,
  familyname VARCHAR(64) NOT NULL,
  middlename VARCHAR(64),
  nickname VARCHAR(255),
  email VARCHAR(128) NOT NULL,
  emailverified BOOLEAN DEFAULT FALSE,
  phonenumber VARCHAR(255),
  phonenumberverified BOOLEAN DEFAULT FALSE,
  birthdate VARCHAR(255),
  gender VARCHAR(255),
  locale VARCHAR(255),
  picture VARCHAR(255),
  profile VARCHAR(255),
  website VARCHAR(255),
  zoneinfo VARCHAR(255),
  address_id BIGINT,
  PRIMARY KEY (id),
  KEY iui_em_idx (email),
  KEY iui_gn_fn_idx (givenname, familyname)
);
CREATE TABLE iam_account (
  id BIGINT NOT NULL AUTO_INCREMENT,
  uuid VARCHAR(36) NOT NULL,
  username VARCHAR(128) NOT NULL,
  password VARCHAR(128),
  active BOOLEAN NOT NULL DEFAULT FALSE,
  provisioned BOOLEAN NOT NULL DEFAULT FALSE,
  confirmation_key VARCHAR(36),
  reset_key VARCHAR(36),
  user_info_id BIGINT,
  creationtime DATETIME NOT NULL,
  lastupdatetime DATETIME NOT NULL,
  last_login_time DATETIME,
  end_time DATETIME,
  PRIMARY KEY (id),
  UNIQUE KEY username (username),
  UNIQUE KEY uuid (uuid),
  KEY ia_ct_idx (creationtime),
  KEY ia_lut_idx (lastupdatetime),
  KEY ia_llt_idx (last_login_time),
  KEY ia_et_idx (end_time),
  CONSTRAINT fk_iam_account_user_info_id FOREIGN KEY (user_info_id) REFERENCES iam_user_info (id)
);
CREATE TABLE iam_authority (
  id BIGINT NOT NULL AUTO_INCREMENT, auth VARCHAR(128) NOT NULL, PRIMARY KEY (id), UNIQUE KEY auth (auth)
);
CREATE TABLE iam_account_authority (
  account_id BIGINT NOT NULL,
  authority_id BIGINT NOT NULL,
  PRIMARY KEY (account_id, authority_id),
  CONSTRAINT fk_iam_account_authority_account_id FOREIGN KEY (account_id) REFERENCES iam_account (id),
  CONSTRAINT fk_iam_account_authority_authority_id FOREIGN KEY (authority_id) REFERENCES iam_authority (id)
);
CREATE TABLE iam_group (
  id BIGINT NOT NULL AUTO_INCREMENT,
  uuid VARCHAR(36) NOT NULL,
  name VARCHAR(255) NOT NULL,
  description VARCHAR(512),
  parent_group_id BIGINT,
  creationtime DATETIME NOT NULL,
  lastupdatetime DATETIME NOT NULL,
  PRIMARY KEY (id),
  UNIQUE KEY name (name),
  UNIQUE KEY uuid (uuid),
  CONSTRAINT fk_iam_group_parent_id FOREIGN KEY (parent_group_id) REFERENCES iam_group (id)
);
CREATE TABLE iam_account_group (
  account_id BIGINT NOT NULL,
  group_id BIGINT NOT NULL,
  creation_time DATETIME,
  end_time DATETIME,
  PRIMARY KEY (account_id, group_id),
  CONSTRAINT fk_iam_account_group_account_id FOREIGN KEY (account_id) REFERENCES iam_account (id),
  CONSTRAINT fk_iam_account_group_group_id FOREIGN KEY (group_id) REFERENCES iam_group (id)
);
CREATE TABLE iam_account_attrs (
  name VARCHAR(64) NOT NULL, val VARCHAR(256), account_id BIGINT,
  CONSTRAINT fk_iam_account_attrs_account_id FOREIGN KEY (account_id) REFERENCES iam_account (id)
);
CREATE TABLE iam_account_labels (
  name VARCHAR(64) NOT NULL, prefix VARCHAR(256), val VARCHAR(64), account_id BIGINT,
  CONSTRAINT fk_iam_account_labels_account_id FOREIGN KEY (account_id) REFERENCES iam_account (id)
);
CREATE TABLE iam_oidc_id (
  id BIGINT NOT NULL AUTO_INCREMENT, issuer VARCHAR(256) NOT NULL, subject VARCHAR(256) NOT NULL, account_id BIGINT,
  PRIMARY KEY (id),
  CONSTRAINT fk_iam_oidc_id_account_id FOREIGN KEY (account_id) REFERENCES iam_account (id)
);
CREATE TABLE iam_saml_id (
  id BIGINT NOT NULL AUTO_INCREMENT, idpid VARCHAR(256) NOT NULL, userid VARCHAR(256) NOT NULL,
  attribute_id VARCHAR(256), account_id BIGINT,
  PRIMARY KEY (id),
  CONSTRAINT fk_iam_saml_id_account_id FOREIGN KEY (account_id) REFERENCES iam_account (id)
);
CREATE TABLE iam_ssh_key (
  id BIGINT NOT NULL AUTO_INCREMENT, fingerprint VARCHAR(48) NOT NULL, label VARCHAR(36) NOT NULL,
  is_primary BOOLEAN DEFAULT FALSE, val LONGTEXT, account_id BIGINT,
  PRIMARY KEY (id), UNIQUE KEY fingerprint (fingerprint),
  CONSTRAINT fk_iam_ssh_key_account_id FOREIGN KEY (account_id) REFERENCES iam_account (id)
);
CREATE TABLE iam_x509_cert (
  id BIGINT NOT NULL AUTO_INCREMENT, subject_dn VARCHAR(128) NOT NULL, issuer_dn VARCHAR(128) NOT NULL,
  label VARCHAR(36) NOT NULL, is_primary BOOLEAN DEFAULT FALSE, certificate TEXT, account_id BIGINT,
  PRIMARY KEY (id),
  CONSTRAINT fk_iam_x509_cert_account_id FOREIGN KEY (account_id) REFERENCES iam_account (id)
);
CREATE TABLE iam_reg_request (
  id BIGINT NOT NULL AUTO_INCREMENT, uuid VARCHAR(36) NOT NULL,
  creationtime TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP, account_id BIGINT, status VARCHAR(50),
  lastupdatetime TIMESTAMP NULL, notes TEXT,
  PRIMARY KEY (id), UNIQUE KEY uuid (uuid),
  CONSTRAINT fk_iam_reg_request_account_id FOREIGN KEY (account_id) REFERENCES iam_account (id)
);
CREATE TABLE iam_aup (
  id BIGINT NOT NULL AUTO_INCREMENT, name VARCHAR(36) NOT NULL, description VARCHAR(128), url VARCHAR(256),
  text LONGTEXT, sig_validity_days BIGINT NOT NULL, creation_time DATETIME NOT NULL, last_update_time DATETIME NOT NULL,
  PRIMARY KEY (id), UNIQUE KEY name (name)
);
CREATE TABLE iam_aup_signature (
  id BIGINT NOT NULL AUTO_INCREMENT, signature_time DATETIME NOT NULL, account_id BIGINT, aup_id BIGINT,
  PRIMARY KEY (id), UNIQUE KEY unq_iam_aup_signature_0 (aup_id, account_id),
  CONSTRAINT fk_iam_aup_signature_aup_id FOREIGN KEY (aup_id) REFERENCES iam_aup (id),
  CONSTRAINT fk_iam_aup_signature_account_id FOREIGN KEY (account_id) REFERENCES iam_account (id)
);
CREATE TABLE iam_totp_mfa (
  id BIGINT NOT NULL AUTO_INCREMENT, active BOOLEAN NOT NULL DEFAULT FALSE, secret VARCHAR(255) NOT NULL,
  creation_time DATETIME NOT NULL, last_update_time DATETIME NOT NULL, account_id BIGINT,
  PRIMARY KEY (id),
  CONSTRAINT fk_iam_totp_mfa_account_id FOREIGN KEY (account_id) REFERENCES iam_account (id)
);

-- ---------------------------------------------------------------- policies
CREATE TABLE iam_scope_policy (
  id BIGINT NOT NULL AUTO_INCREMENT, creation_time DATETIME NOT NULL, description VARCHAR(512),
  last_update_time DATETIME NOT NULL, rule VARCHAR(6) NOT NULL, matching_policy VARCHAR(6) NOT NULL DEFAULT 'EQ',
  account_id BIGINT, group_id BIGINT,
  PRIMARY KEY (id),
  CONSTRAINT fk_iam_scope_policy_group_id FOREIGN KEY (group_id) REFERENCES iam_group (id),
  CONSTRAINT fk_iam_scope_policy_account_id FOREIGN KEY (account_id) REFERENCES iam_account (id)
);
CREATE TABLE iam_exchange_policy (
  id BIGINT NOT NULL AUTO_INCREMENT, creation_time DATETIME NOT NULL, description VARCHAR(512),
  last_update_time DATETIME NOT NULL, rule VARCHAR(6) NOT NULL,
  dest_m_param VARCHAR(256), dest_m_type VARCHAR(8) NOT NULL,
  origin_m_param VARCHAR(256), origin_m_type VARCHAR(8) NOT NULL,
  PRIMARY KEY (id)
);

-- ---------------------------------------------------------------- not INDIGO's: for the audit after a run
-- Which request made which access token, read from the token's own claims; finds refreshes too, which
-- write no authentication holder. JWTs use the URL alphabet of base64, MariaDB the other one.
-- With the rights of who asks: made by a server that bootstraps, it would belong to nobody.
CREATE SQL SECURITY INVOKER VIEW issued_request AS
SELECT JSON_VALUE(FROM_BASE64(RPAD(claims, CEIL(LENGTH(claims) / 4) * 4, '=')), '$.request_id') AS request_id,
       access_token_id
  FROM (SELECT id AS access_token_id,
               REPLACE(REPLACE(SUBSTRING_INDEX(SUBSTRING_INDEX(token_value, '.', 2), '.', -1), '-', '+'), '_', '/')
                 AS claims
          FROM access_token) AS token;
