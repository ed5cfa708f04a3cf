//! What the providers report after they have taken a message: that it arrived, that it came back, that somebody
//! complained. Nothing is believed before its signature is checked.

pub mod ses;
pub mod sns;
pub mod whatsapp;
