//! The providers' reports about accepted messages: delivered, bounced, complained about. Each report's signature is checked
//! first.

pub mod ses;
pub mod sns;
pub mod whatsapp;
