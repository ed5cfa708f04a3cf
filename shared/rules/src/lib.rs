//! The rules of Signals: parses rule documents and evaluates events.
//!
//! Nothing here does I/O or reads the clock: callers pass in events and stored state, and store the returned state.
//!
//! Read in this order: `document` is a whole rule; [`parse()`] and [`parse_text`] parse one and report its `issue`s. A
//! `path` names a value of an [`Event`]; `condition` is the tree of comparisons, `operator` and `operand` the parts of one;
//! `evaluate` applies them to an event, and `trace` records that for a dry run. `threshold`, `cooldown` and `digest` have a
//! state and a step function each. `action` is a notification, rendered by `template` with the names of `scope` and escaped
//! by `markup`. `legacy` parses the rules of schema 1, and [`dry_run()`] runs all of this at once.
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
