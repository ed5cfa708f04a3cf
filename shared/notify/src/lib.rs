//! Notifications: what is sent to people and machines outside, on five channels.
//!
//! A tenant's [`Config`] says how a channel is reached, a [`Message`] what is to be said. [`Senders::send`] makes one
//! attempt and answers an [`Attempt`]: taken, to be repeated, or hopeless because of the message, the recipient or the
//! config. What each provider means by its answers is decided by pure functions beside each channel.
//!
//! Around an attempt: [`recipient`] has one spelling for each recipient, [`pace`] says how fast each provider may be
//! called, [`schedule`] when the next attempt comes, and [`receipts`] reads what the provider reports later.
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
