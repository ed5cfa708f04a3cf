//! Notifications: messages to people and programs, on five channels.
//!
//! A tenant's [`Config`] holds the settings of a channel, a [`Message`] the rendered content. [`Senders::send`] makes one
//! attempt and returns an [`Attempt`]: sent, to be retried, or given up because of the message, the recipient or the config.
//! A pure function of each channel classifies its provider's responses.
//!
//! Around an attempt: [`recipient`] normalises recipients, [`pace`] has the rate limits of each provider, [`schedule`] the
//! waits between attempts, and [`receipts`] parses the providers' later reports.
//!
//! Nothing here stores anything, and nothing logs an address, a text or a token.

pub mod config;
pub mod email;
mod message;
mod outcome;
pub mod pace;
pub mod receipts;
pub mod recipient;
pub mod schedule;
mod senders;
pub mod slack;
pub mod telegram;
pub mod webhook;
pub mod whatsapp;

pub use config::{Config, Issue};
pub use message::{DeliveryMeta, Message, Template};
pub use outcome::{Attempt, Code, Outcome, Substitute};
pub use senders::Senders;
pub use switchyard_core::Channel;
