"""The plane's tables. A script once released is never edited: a change is a new one at the end."""

from __future__ import annotations

_FIRST = """
CREATE TABLE plane (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;

CREATE TABLE users (
  name TEXT PRIMARY KEY, user_id TEXT NOT NULL UNIQUE, arn TEXT NOT NULL UNIQUE, created_at REAL NOT NULL
) STRICT;
CREATE TABLE access_keys (
  id TEXT PRIMARY KEY, user TEXT NOT NULL REFERENCES users (name), secret TEXT NOT NULL,
  status TEXT NOT NULL CHECK (status IN ('Active', 'Inactive')), created_at REAL NOT NULL
) STRICT;

-- Expired sessions stay for a day, so that their use is answered with "expired" rather than "unknown".
CREATE TABLE sessions (
  access_key_id TEXT PRIMARY KEY, secret TEXT NOT NULL, token_digest BLOB NOT NULL,
  role_arn TEXT NOT NULL, role_id TEXT NOT NULL, name TEXT NOT NULL,
  tags TEXT NOT NULL, transitive_keys TEXT NOT NULL, source_identity TEXT, federated TEXT NOT NULL,
  issued_at REAL NOT NULL, expires_at REAL NOT NULL
) STRICT;
CREATE INDEX sessions_by_expiry ON sessions (expires_at);

-- IAM names differ by more than case.
CREATE TABLE roles (
  name TEXT PRIMARY KEY COLLATE NOCASE, path TEXT NOT NULL, role_id TEXT NOT NULL UNIQUE, arn TEXT NOT NULL UNIQUE,
  description TEXT, trust TEXT NOT NULL, max_session INTEGER NOT NULL, tags TEXT NOT NULL, created_at REAL NOT NULL
) STRICT;
CREATE TABLE policies (
  arn TEXT PRIMARY KEY, name TEXT NOT NULL COLLATE NOCASE, path TEXT NOT NULL, policy_id TEXT NOT NULL UNIQUE,
  description TEXT, default_version INTEGER NOT NULL, last_version INTEGER NOT NULL, tags TEXT NOT NULL,
  created_at REAL NOT NULL, updated_at REAL NOT NULL
) STRICT;
CREATE TABLE policy_versions (
  arn TEXT NOT NULL REFERENCES policies (arn) ON DELETE CASCADE, version INTEGER NOT NULL,
  document TEXT NOT NULL, created_at REAL NOT NULL, PRIMARY KEY (arn, version)
) STRICT;
-- owner is role/NAME or user/NAME
CREATE TABLE attachments (
  owner TEXT NOT NULL COLLATE NOCASE, policy_arn TEXT NOT NULL REFERENCES policies (arn), attached_at REAL NOT NULL,
  PRIMARY KEY (owner, policy_arn)
) STRICT;
CREATE TABLE inline_policies (
  owner TEXT NOT NULL COLLATE NOCASE, name TEXT NOT NULL COLLATE NOCASE, document TEXT NOT NULL,
  PRIMARY KEY (owner, name)
) STRICT;
CREATE TABLE oidc_providers (
  arn TEXT PRIMARY KEY, url TEXT NOT NULL UNIQUE, client_ids TEXT NOT NULL, thumbprints TEXT NOT NULL,
  tags TEXT NOT NULL, created_at REAL NOT NULL
) STRICT;

CREATE TABLE clusters (
  name TEXT PRIMARY KEY, issuer TEXT NOT NULL UNIQUE, kid TEXT NOT NULL, private_key TEXT NOT NULL,
  version TEXT NOT NULL, role_arn TEXT NOT NULL, vpc TEXT NOT NULL, tags TEXT NOT NULL, client_token TEXT,
  created_at REAL NOT NULL
) STRICT;
CREATE TABLE addons (
  cluster TEXT NOT NULL REFERENCES clusters (name) ON DELETE CASCADE, name TEXT NOT NULL, version TEXT NOT NULL,
  service_account_role TEXT, configuration TEXT, tags TEXT NOT NULL,
  created_at REAL NOT NULL, modified_at REAL NOT NULL,
  PRIMARY KEY (cluster, name)
) STRICT;
CREATE TABLE associations (
  id TEXT PRIMARY KEY, cluster TEXT NOT NULL REFERENCES clusters (name) ON DELETE CASCADE,
  namespace TEXT NOT NULL, service_account TEXT NOT NULL, role_arn TEXT NOT NULL, target_role_arn TEXT,
  external_id TEXT, disable_session_tags INTEGER NOT NULL, tags TEXT NOT NULL, client_token TEXT,
  created_at REAL NOT NULL, modified_at REAL NOT NULL,
  UNIQUE (cluster, namespace, service_account), UNIQUE (cluster, client_token)
) STRICT;

CREATE TABLE service_accounts (
  cluster TEXT NOT NULL REFERENCES clusters (name) ON DELETE CASCADE, namespace TEXT NOT NULL, name TEXT NOT NULL,
  uid TEXT NOT NULL, annotations TEXT NOT NULL, PRIMARY KEY (cluster, namespace, name)
) STRICT;
CREATE TABLE pods (
  uid TEXT PRIMARY KEY, cluster TEXT NOT NULL REFERENCES clusters (name) ON DELETE CASCADE, namespace TEXT NOT NULL,
  service_account TEXT NOT NULL, name TEXT NOT NULL, node TEXT NOT NULL, created_at REAL NOT NULL,
  heartbeat_by REAL NOT NULL, ended_at REAL
) STRICT;
CREATE INDEX pods_by_cluster ON pods (cluster, ended_at);
"""

# What agents must forget: an association that was changed or deleted, by whatever road. The newest 10,000 are kept.
_REVOCATIONS = """
CREATE TABLE revocations (
  seq INTEGER PRIMARY KEY AUTOINCREMENT, cluster TEXT NOT NULL, association_id TEXT NOT NULL
) STRICT;
CREATE TRIGGER association_changed AFTER UPDATE ON associations BEGIN
  INSERT INTO revocations (cluster, association_id) VALUES (old.cluster, old.id);
END;
CREATE TRIGGER association_deleted AFTER DELETE ON associations BEGIN
  INSERT INTO revocations (cluster, association_id) VALUES (old.cluster, old.id);
END;
CREATE TRIGGER revocations_bounded AFTER INSERT ON revocations BEGIN
  DELETE FROM revocations WHERE seq <= new.seq - 10000;
END;
"""

_NAMESPACES = """
CREATE TABLE namespaces (
  cluster TEXT NOT NULL REFERENCES clusters (name) ON DELETE CASCADE, name TEXT NOT NULL, annotations TEXT NOT NULL,
  PRIMARY KEY (cluster, name)
) STRICT;
"""

MIGRATIONS = (_FIRST, _REVOCATIONS, _NAMESPACES)
