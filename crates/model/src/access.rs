//! Who may do what: roles, the permissions each grants, users, sessions and tokens. Checking a password is `server`'s.

use crate::id::{SessionId, TokenId, UserId};
use crate::observation::words;
use crate::time::Ts;

words! {
    /// A set of permissions a user or token has.
    Role: "role" {
        /// Sees exposures, endpoints, hosts, tasks and assets.
        Viewer = "viewer",
        /// A viewer who answers for systems.
        Owner = "owner",
        /// Runs the scanning: assets, tasks, receivers.
        Operator = "operator",
        /// Decides about exposures, and agrees to what others ask for.
        Approver = "approver",
        /// Everything, users and tokens included.
        Admin = "admin",
        /// Sees everything, the audit trail included; changes nothing.
        Auditor = "auditor",
    }
}

words! {
    /// One thing that an endpoint of the API asks for.
    Permission: "permission" {
        /// See exposures, endpoints, hosts, tasks, jobs, assets, events.
        Read = "read",
        /// Register, accept, mark as false positive.
        Decide = "decide",
        /// Agree to what somebody else asked for: attempts with default passwords.
        Approve = "approve",
        /// Add, change, import and remove assets, exclusions and blackouts.
        ManageAssets = "manage-assets",
        /// Make, edit, run, pause and cancel tasks.
        ManageTasks = "manage-tasks",
        /// Receivers and alert policy.
        ManageAlerts = "manage-alerts",
        /// Settings of the system.
        ManageSettings = "manage-settings",
        /// Users and tokens.
        ManageUsers = "manage-users",
        /// See the audit trail.
        ReadAudit = "read-audit",
        /// See metrics.
        ReadMetrics = "read-metrics",
    }
}

impl Role {
    /// Whether the role grants the permission.
    pub fn grants(self, permission: Permission) -> bool {
        use Permission::*;
        match self {
            Role::Admin => true,
            Role::Viewer | Role::Owner => permission == Read,
            Role::Operator => {
                matches!(permission, Read | ManageAssets | ManageTasks | ManageAlerts | ManageSettings | ReadMetrics | Decide)
            }
            Role::Approver => matches!(permission, Read | Decide | Approve | ReadAudit),
            Role::Auditor => matches!(permission, Read | ReadAudit | ReadMetrics),
        }
    }
}

/// A person who signs in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Id.
    pub id: UserId,
    /// Name to sign in with; unique, compared without case.
    pub name: String,
    /// Role.
    pub role: Role,
    /// Argon2id hash of the password, in PHC form.
    pub password_hash: String,
    /// May not sign in.
    pub disabled: bool,
    /// Must set a new password before anything else.
    pub must_change_password: bool,
    /// When it was made.
    pub created_at: Ts,
    /// Last sign-in.
    pub last_seen_at: Option<Ts>,
}

/// A signed-in browser. Only the hash of its secret is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Id.
    pub id: SessionId,
    /// Whose.
    pub user: UserId,
    /// SHA-256 of the cookie's secret.
    pub secret_hash: [u8; 32],
    /// When it began.
    pub created_at: Ts,
    /// When it ends.
    pub expires_at: Ts,
}

/// A credential for programs. Only the hash of its secret is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiToken {
    /// Id.
    pub id: TokenId,
    /// What it is for.
    pub name: String,
    /// Role.
    pub role: Role,
    /// SHA-256 of the secret.
    pub secret_hash: [u8; 32],
    /// When it was made.
    pub created_at: Ts,
    /// By whom.
    pub created_by: String,
    /// When it ends; `None` for never.
    pub expires_at: Option<Ts>,
    /// Last use.
    pub last_used_at: Option<Ts>,
    /// When it was revoked.
    pub revoked_at: Option<Ts>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_that_only_look_change_nothing() {
        for role in [Role::Viewer, Role::Owner, Role::Auditor] {
            for &p in Permission::ALL {
                let reads = matches!(p, Permission::Read | Permission::ReadAudit | Permission::ReadMetrics);
                assert!(reads || !role.grants(p), "{role} must not have {p}");
            }
        }
        assert!(Permission::ALL.iter().all(|&p| Role::Admin.grants(p)));
        assert!(!Role::Operator.grants(Permission::ManageUsers));
    }
}
