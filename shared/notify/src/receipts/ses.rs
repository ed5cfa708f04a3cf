//! SES's reports, the content of SNS's messages: of a configuration set (`eventType`) and of an identity
//! (`notificationType`).

use crate::recipient::suppression_key;
use jiff::Timestamp;
use serde::Deserialize;
use std::collections::HashMap;

/// The outcome that a report gives for an email.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The receiving server accepted it.
    Delivered,
    /// It bounced. After a `permanent` bounce the address is suppressed.
    Bounced {
        /// Whether every email to the address will bounce.
        permanent: bool,
    },
    /// The recipient marked it as spam; the address is suppressed.
    Complained,
}

/// One report.
#[derive(Clone, PartialEq, Eq)]
pub struct MailReport {
    /// Its outcome.
    pub fate: Fate,
    /// The delivery's id, from the tag that the email was sent with.
    pub delivery_id: Option<String>,
    /// SES's id of the message, as in the outcome of the attempt.
    pub message_id: String,
    /// The time of the outcome.
    pub at: Option<Timestamp>,
    /// The addresses that the report is about, normalised by [`suppression_key`].
    pub recipients: Vec<String>,
}

impl MailReport {
    /// The addresses to put on the suppression list.
    pub fn to_suppress(&self) -> &[String] {
        match self.fate {
            Fate::Bounced { permanent: true } | Fate::Complained => &self.recipients,
            Fate::Delivered | Fate::Bounced { permanent: false } => &[],
        }
    }
}

/// The content is not a report of SES's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the content is not a report of SES's")]
pub struct NotAReport;

/// Parses the content of an authentic message. Returns `None` for other reports, such as opens and clicks.
///
/// # Errors
/// It is not a report. The error shows no content.
pub fn parse(content: &str) -> Result<Option<MailReport>, NotAReport> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Report {
        #[serde(alias = "notificationType")]
        event_type: String,
        mail: Mail,
        delivery: Option<Delivery>,
        bounce: Option<Bounce>,
        complaint: Option<Complaint>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Mail {
        message_id: String,
        #[serde(default)]
        tags: HashMap<String, Vec<String>>,
    }
    #[derive(Deserialize)]
    struct Delivery {
        timestamp: Option<String>,
        #[serde(default)]
        recipients: Vec<String>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Bounce {
        bounce_type: String,
        timestamp: Option<String>,
        #[serde(default)]
        bounced_recipients: Vec<Recipient>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Complaint {
        timestamp: Option<String>,
        #[serde(default)]
        complained_recipients: Vec<Recipient>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Recipient {
        email_address: String,
    }
    let report: Report = serde_json::from_str(content).map_err(|_| NotAReport)?;
    let addresses = |found: Vec<Recipient>| found.into_iter().map(|found| found.email_address).collect::<Vec<_>>();
    let (fate, at, recipients) = match (&*report.event_type, report.delivery, report.bounce, report.complaint) {
        ("Delivery", Some(delivery), ..) => (Fate::Delivered, delivery.timestamp, delivery.recipients),
        ("Bounce", _, Some(bounce), _) => {
            let permanent = bounce.bounce_type == "Permanent";
            (Fate::Bounced { permanent }, bounce.timestamp, addresses(bounce.bounced_recipients))
        }
        ("Complaint", .., Some(complaint)) => {
            (Fate::Complained, complaint.timestamp, addresses(complaint.complained_recipients))
        }
        ("Delivery" | "Bounce" | "Complaint", ..) => return Err(NotAReport),
        _ => return Ok(None),
    };
    let mut tags = report.mail.tags;
    Ok(Some(MailReport {
        fate,
        delivery_id: tags.remove("deliveryId").and_then(|values| values.into_iter().next()),
        message_id: report.mail.message_id,
        at: at.and_then(|text| text.parse().ok()),
        recipients: recipients.iter().map(|address| suppression_key(address)).collect(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn report(kind: &str, member: &str, details: Value) -> MailReport {
        let mail = json!({"messageId": "0107", "destination": ["a@b.test"], "tags": {"ses:source-ip": ["1.1.1.1"],
            "deliveryId": ["d1"]}});
        let report = json!({"eventType": kind, "mail": mail, member: details});
        parse(&report.to_string()).unwrap().unwrap()
    }

    #[test]
    fn a_delivery_is_matched_by_its_tag() {
        let details =
            json!({"timestamp": "2026-01-05T10:00:00.000Z", "recipients": ["Ann@B.test"], "smtpResponse": "250 ok"});
        let found = report("Delivery", "delivery", details);
        assert_eq!(
            (found.fate, found.delivery_id.as_deref(), &*found.message_id),
            (Fate::Delivered, Some("d1"), "0107")
        );
        assert_eq!(
            (found.at.unwrap().as_second(), &*found.recipients),
            (1_767_607_200, &["ann@b.test".to_owned()][..])
        );
        assert!(found.to_suppress().is_empty());
    }

    #[test]
    fn only_what_stays_so_is_suppressed() {
        let bounce = |kind: &str| {
            let recipients = json!([{"emailAddress": "Ann@B.test", "status": "5.1.1", "action": "failed"}]);
            report("Bounce", "bounce", json!({"bounceType": kind, "bouncedRecipients": recipients}))
        };
        assert_eq!(bounce("Permanent").fate, Fate::Bounced { permanent: true });
        assert_eq!(bounce("Permanent").to_suppress(), ["ann@b.test"]);
        for kind in ["Transient", "Undetermined"] {
            assert!(bounce(kind).to_suppress().is_empty(), "{kind}");
        }
        let complaint = json!({"complainedRecipients": [{"emailAddress": "ann@b.test"}]});
        assert_eq!(report("Complaint", "complaint", complaint).to_suppress(), ["ann@b.test"]);
    }

    #[test]
    fn an_identitys_report_is_read_too_and_others_are_let_be() {
        let mail = json!({"messageId": "0107"});
        let old = json!({"notificationType": "Delivery", "mail": mail, "delivery": {"recipients": []}});
        assert_eq!(parse(&old.to_string()).unwrap().unwrap().delivery_id, None);
        assert!(parse(&json!({"eventType": "Open", "mail": mail, "open": {}}).to_string()).unwrap().is_none());
        for wrong in ["hello", "{}", &json!({"eventType": "Bounce", "mail": mail}).to_string()] {
            assert!(matches!(parse(wrong), Err(NotAReport)), "{wrong}");
        }
    }
}
