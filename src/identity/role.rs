//! Who may do what: one table.

/// What a caller may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Of a tenant: learns which labels a document has, and how much, but nothing that it says.
    Viewer,
    /// Of a tenant: reads documents.
    Decoder,
    /// Of the staff: sees who used how much, and what failed.
    Auditor,
    /// Of the staff: runs the service.
    Operator,
}

/// What may be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// To have a source decoded, and to be shown labels and counts.
    Survey,
    /// To be shown what secrets say.
    Read,
    /// To have a document decoded that is handed over.
    HandOver,
    /// To choose markers and limits: with these, a document could be read piece by piece.
    Choose,
    /// To see who has used how much.
    SeeUsage,
    /// To see the last failures.
    SeeErrors,
    /// All else that is the operator's.
    Operate,
}

/// The table. Whoever is not named may not.
const MAY: [(Action, &[Role]); 7] = [
    (Action::Survey, &[Role::Viewer, Role::Decoder]),
    (Action::Read, &[Role::Decoder]),
    (Action::HandOver, &[Role::Decoder]),
    (Action::Choose, &[Role::Decoder]),
    (Action::SeeUsage, &[Role::Auditor, Role::Operator]),
    (Action::SeeErrors, &[Role::Auditor, Role::Operator]),
    (Action::Operate, &[Role::Operator]),
];

impl Action {
    /// Whether it is a thing of the staff.
    pub fn is_of_staff(self) -> bool {
        matches!(self, Self::SeeUsage | Self::SeeErrors | Self::Operate)
    }
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 4] = [Self::Viewer, Self::Decoder, Self::Auditor, Self::Operator];

    /// Whether who has this role may do that.
    pub fn may(self, action: Action) -> bool {
        MAY.iter().any(|(allowed, roles)| *allowed == action && roles.contains(&self))
    }

    /// The name in files and claims.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Decoder => "decoder",
            Self::Auditor => "auditor",
            Self::Operator => "operator",
        }
    }

    /// The role of a name.
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == name)
    }
}
