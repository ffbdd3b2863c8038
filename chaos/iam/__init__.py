"""The identity service: an OAuth 2 server with the database behaviour of INDIGO IAM."""
