//! The rules of Signals: what a rule document may say, and what it makes of an event.
//!
//! Nothing here does any I/O or knows the time; callers hand in events and stored state, and store what comes back.
//!
//! Read in this order: `document` is a whole rule, and [`parse()`] and [`parse_text`] read one, once for many events;
//! what is wrong with it are `issue`s. A rule looks at an [`Event`] along a `path`; `condition` is the tree of its
//! comparisons, `operator` and `operand` the two halves of one, `evaluate` what they make of an event, `trace` what a dry
//! run shows of that. Then come `threshold`, `cooldown` and `digest`: state and a step function each. `action` is what is
//! sent, through `template` with the names of `scope`, escaped by `markup`. `legacy` reads the rules of schema 1, and
//! [`dry_run()`] shows all of it at once.
//!
//! An event goes through a rule like this: [`Rule::is_for`] its type, [`Condition::holds`], [`Threshold::step`],
//! [`Cooldown::step`], [`Digest::step`], then [`Rule::actions_for`] it and [`Action::render`].

mod action;
mod condition;
mod cooldown;
mod digest;
mod document;
mod dry_run;
mod duplicate;
mod evaluate;
mod event;
mod group;
mod issue;
mod legacy;
mod markup;
mod number;
mod operand;
mod operator;
mod parse;
mod path;
mod scope;
mod template;
mod template_check;
mod term;
mod threshold;
mod time;
mod trace;

#[cfg(test)]
mod models;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod vectors;

pub use action::{Action, FilledTemplate, Message, markup_of};
pub use condition::{Condition, Leaf};
pub use cooldown::{Cooldown, CooldownState, Cooled};
pub use digest::{Batch, Digest, DigestState, DigestStep, Digested, Entry};
pub use document::{Definition, Rule, Status, TypePattern};
pub use dry_run::{DryRun, Past, Render, StoppedBy, dry_run};
pub use evaluate::{Evaluation, MAX_VISITS};
pub use event::{Event, Tenant};
pub use group::canonical_text;
pub use issue::{Code, Issue, MAX_ISSUES};
pub use markup::Markup;
pub use operator::{MAX_PATTERN_BYTES, PatternSize};
pub use parse::{MAX_DOCUMENT, Parsed, parse, parse_text};
pub use path::{BadPath, Path, redact};
pub use scope::Scope;
pub use template::{MAX_OUTPUT, RenderError};
pub use threshold::{Counted, Sample, Threshold, ThresholdState};
pub use trace::{Note, Trace};
