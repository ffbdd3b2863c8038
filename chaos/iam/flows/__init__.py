"""One file per flow: the steps of a request in the order INDIGO IAM takes them (facts/iam.md section 2)."""
