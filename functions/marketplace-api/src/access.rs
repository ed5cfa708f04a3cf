//! Who calls: everyone, or one organisation by its key.

/// For whom a caller may act.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Caller {
    /// `AUTH_MODE=open`: for every organisation.
    Open,
    /// The bearer of this organisation's key.
    Organization(String),
}

impl Caller {
    /// Whether the caller may act for `organization`. Where not, its things do not exist: 404, never 403.
    pub fn may(&self, organization: &str) -> bool {
        match self {
            Self::Open => true,
            Self::Organization(own) => own == organization,
        }
    }
}
