//! What the API shows of signals, each type beside its subject.

pub use crate::evaluate::dry_run::SampleOutcome;
pub use crate::manage::configs::view::ConfigView;
pub use crate::manage::rules::view::{RuleVersionView, RuleView};
pub use crate::manage::tenants::view::TenantView;
pub use crate::manage::users::UserView;
pub use crate::notify::dead_letters::{DeadLetterDetails, DeadLetterKind, DeadLetterView};
pub use crate::notify::receipts::row::SuppressionView;
pub use crate::notify::trial::TestOutcome;
pub use crate::usage::view::{UsagePeriod, UsageView};
