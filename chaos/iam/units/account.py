"""Accounts: one load is 10 SELECTs, 1 when the user does not exist."""

from __future__ import annotations

from dataclasses import dataclass

from chaos.iam.connection import Statements
from chaos.iam.units.decode import first_column, flag, text

DETAILS = (
    "SELECT id, uuid, username, password, active, user_info_id, provisioned, confirmation_key, reset_key,"
    " creationtime, lastupdatetime, last_login_time, end_time FROM iam_account WHERE "
)
DETAILS_READ = 6
BY_USERNAME = DETAILS + "username = %s"
BY_ID = DETAILS + "id = %s"
AUP_SIGNATURE = "SELECT id, signature_time, account_id, aup_id FROM iam_aup_signature WHERE account_id = %s"
REGISTRATION = (
    "SELECT id, uuid, creationtime, account_id, status, lastupdatetime, notes FROM iam_reg_request"
    " WHERE account_id = %s"
)
USER_INFO = (
    "SELECT id, givenname, familyname, email, emailverified, dtype, middlename, nickname, phonenumber,"
    " phonenumberverified, birthdate, gender, locale, picture, profile, website, zoneinfo, address_id"
    " FROM iam_user_info WHERE id = %s"
)
USER_INFO_READ = 5
AUTHORITIES = (
    "SELECT a.auth, a.id FROM iam_account_authority l, iam_authority a"
    " WHERE l.account_id = %s AND a.id = l.authority_id ORDER BY a.id"
)
IDENTITIES = (
    "SELECT id, issuer, subject, account_id FROM iam_oidc_id WHERE account_id = %s",
    "SELECT id, idpid, userid, attribute_id, account_id FROM iam_saml_id WHERE account_id = %s",
    "SELECT id, fingerprint, label, is_primary, val, account_id FROM iam_ssh_key WHERE account_id = %s",
    "SELECT id, subject_dn, issuer_dn, label, is_primary, certificate, account_id FROM iam_x509_cert"
    " WHERE account_id = %s",
)
MEMBERSHIPS = (
    "SELECT group_id, account_id, creation_time, end_time FROM iam_account_group WHERE account_id = %s"
)
GROUP = (
    "SELECT name, id, uuid, description, parent_group_id, creationtime, lastupdatetime FROM iam_group"
    " WHERE id = %s"
)
ATTRIBUTES = "SELECT name, val FROM iam_account_attrs WHERE account_id = %s"
LABELS = "SELECT name, prefix, val FROM iam_account_labels WHERE account_id = %s"
AUP = (
    "SELECT id, name, description, url, text, sig_validity_days, creation_time, last_update_time FROM iam_aup"
)
TOTP = (
    "SELECT active, id, secret, creation_time, last_update_time, account_id FROM iam_totp_mfa"
    " WHERE account_id = %s"
)
TOUCH_LAST_LOGIN = "UPDATE iam_account SET last_login_time = UTC_TIMESTAMP() WHERE id = %s"


@dataclass(frozen=True, slots=True)
class Account:
    """A user, as one load returns it.

    Attributes:
        id: primary key.
        uuid: the token subject.
        username: login name.
        password: BCrypt hash.
        active: suspended accounts are refused.
        given_name: for the profile claims.
        family_name: for the profile claims.
        email: for the email claim.
        email_verified: for the email claim.
        authorities: roles.
        signed_aup: whether an acceptable use policy was signed.
    """

    id: int
    uuid: str
    username: str
    password: str
    active: bool
    given_name: str
    family_name: str
    email: str
    email_verified: bool
    authorities: tuple[str, ...]
    signed_aup: bool


def load(db: Statements, username: str) -> Account | None:
    """Load an account: 10 SELECTs (iam_account twice), or 1 when there is none."""
    rows = db.select(BY_USERNAME, username, columns=DETAILS_READ)
    if not rows:
        return None
    row = rows[0]
    identifier = int(row[0] or 0)
    signatures = db.select(AUP_SIGNATURE, identifier, columns=1)
    db.select(BY_ID, identifier, columns=1)  # the signature's and request's way back to the account
    db.select(REGISTRATION, identifier, columns=1)
    info_rows = db.select(USER_INFO, int(row[5] or 0), columns=USER_INFO_READ)
    info = info_rows[0] if info_rows else (None,) * USER_INFO_READ
    authorities = first_column(db.select(AUTHORITIES, identifier, columns=1))
    for identity in IDENTITIES:
        db.select(identity, identifier, columns=0)
    return Account(
        id=identifier,
        uuid=text(row[1]),
        username=text(row[2]),
        password=text(row[3]),
        active=flag(row[4]),
        given_name=text(info[1]),
        family_name=text(info[2]),
        email=text(info[3]),
        email_verified=flag(info[4]),
        authorities=authorities,
        signed_aup=bool(signatures),
    )


def groups(db: Statements, account: Account) -> tuple[str, ...]:
    """Names of the account's groups, loaded one by one: 1 SELECT and 1 per group."""
    memberships = db.select(MEMBERSHIPS, account.id, columns=1)
    return tuple(
        name for row in memberships for name in first_column(db.select(GROUP, int(row[0] or 0), columns=1))
    )


def id_token_claims(db: Statements, account: Account) -> None:
    """What an ID token needs beyond the account: 3 SELECTs (attributes, labels, memberships)."""
    db.select(ATTRIBUTES, account.id, columns=0)
    db.select(LABELS, account.id, columns=0)
    db.select(MEMBERSHIPS, account.id, columns=0)


def unsigned_aup(db: Statements, account: Account) -> bool:
    """Whether a policy exists that this account has not signed: 1 SELECT."""
    return bool(db.select(AUP, columns=1)) and not account.signed_aup


def totp_active(db: Statements, account: Account) -> bool:
    """Whether the account has a second factor: 1 SELECT."""
    rows = db.select(TOTP, account.id, columns=1)
    return bool(rows) and flag(rows[0][0])
