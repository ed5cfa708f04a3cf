//! Messages of Amazon SNS, which carries SES's reports.
//!
//! Every AWS account can make SNS sign a message and post it here. A message is therefore accepted only from the platform's
//! own topics, and with a signature by a certificate that an SNS host serves: trust rests on that host's TLS certificate, as
//! AWS documents.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::signature::{RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY, UnparsedPublicKey};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{
    AlgorithmIdentifier, CertificateDer, InvalidSignature, SignatureVerificationAlgorithm, alg_id,
};
use serde::Deserialize;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use switchyard_core::{Classify, Disposition};
use switchyard_io::http::{Http, HttpError, Method, Url, call};
use webpki::EndEntityCert;
use webpki::ring::RSA_PKCS1_2048_8192_SHA256;

const SERVICE: &str = "SNS";

/// The most cached certificates; each region has one, renewed once a year.
const MAX_CERTIFICATES: usize = 32;

/// A message as SNS posts it; not authentic before [`Verifier::verify`].
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct SnsMessage {
    /// The kind of message.
    #[serde(rename = "Type")]
    pub kind: Kind,
    /// Unique; a repeated post has the same id.
    pub message_id: String,
    /// The topic's ARN.
    pub topic_arn: String,
    /// The subject of a notification.
    pub subject: Option<String>,
    /// The content: for SES's reports JSON, see [`super::ses`].
    pub message: String,
    /// The time of publishing, as text.
    pub timestamp: String,
    /// `1` (SHA-1) or `2` (SHA-256).
    pub signature_version: String,
    /// Base64.
    pub signature: String,
    /// The URL of the certificate.
    #[serde(rename = "SigningCertURL", alias = "SigningCertUrl")]
    pub signing_cert_url: String,
    /// The URL that confirms a subscription.
    #[serde(rename = "SubscribeURL", alias = "SubscribeUrl")]
    pub subscribe_url: Option<String>,
    /// The token of a subscription to be confirmed.
    pub token: Option<String>,
}

/// Kinds of messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Kind {
    /// A published message.
    Notification,
    /// A request to subscribe this endpoint; fetching [`SnsMessage::confirmation_url`] confirms it.
    SubscriptionConfirmation,
    /// This endpoint was unsubscribed; nothing has to be done.
    UnsubscribeConfirmation,
}

/// Why a message is not accepted.
#[derive(Debug, thiserror::Error)]
pub enum SnsError {
    /// Not a message of SNS's.
    #[error("the body is not a message of SNS's")]
    Malformed,
    /// The topic is not one of the platform's.
    #[error("the message is of another topic")]
    Topic,
    /// The URL of its certificate or its confirmation is not at an SNS host.
    #[error("the message points to a host that is not SNS's")]
    Host,
    /// The URL does not serve a certificate.
    #[error("the certificate cannot be read")]
    Certificate,
    /// The signature is wrong.
    #[error("the signature is wrong")]
    Signature,
    /// The certificate could not be fetched, or the subscription not confirmed.
    #[error("calling SNS")]
    Fetch(#[source] HttpError),
}

impl Classify for SnsError {
    fn disposition(&self) -> Disposition {
        match self {
            Self::Fetch(error) => error.disposition(),
            _ => Disposition::Permanent,
        }
    }
}

impl SnsMessage {
    /// Reads a message.
    ///
    /// # Errors
    /// [`SnsError::Malformed`].
    pub fn parse(body: &[u8]) -> Result<Self, SnsError> {
        serde_json::from_slice(body).map_err(|_| SnsError::Malformed)
    }

    /// The signed text: names and values of certain fields, each on a line of its own.
    pub fn canonical(&self) -> String {
        let (message, id) = (("Message", Some(&*self.message)), ("MessageId", Some(&*self.message_id)));
        let (time, topic) = (("Timestamp", Some(&*self.timestamp)), ("TopicArn", Some(&*self.topic_arn)));
        let kind = |name| ("Type", Some(name));
        let fields = match self.kind {
            Kind::Notification => {
                vec![message, id, ("Subject", self.subject.as_deref()), time, topic, kind("Notification")]
            }
            Kind::SubscriptionConfirmation | Kind::UnsubscribeConfirmation => {
                let name = match self.kind {
                    Kind::SubscriptionConfirmation => "SubscriptionConfirmation",
                    _ => "UnsubscribeConfirmation",
                };
                let (url, token) = (("SubscribeURL", self.subscribe_url.as_deref()), ("Token", self.token.as_deref()));
                vec![message, id, url, time, token, topic, kind(name)]
            }
        };
        // An absent subject has no lines.
        fields.into_iter().filter_map(|(name, value)| Some(format!("{name}\n{}\n", value?))).collect()
    }

    /// The URL of its certificate.
    ///
    /// # Errors
    /// [`SnsError::Host`] when that is not a certificate of an SNS host.
    pub fn certificate_url(&self) -> Result<Url, SnsError> {
        let url = sns_url(&self.signing_cert_url)?;
        // Other paths of these hosts are APIs, whose responses other accounts can influence.
        let is_certificate = url.path().starts_with("/SimpleNotificationService-")
            && url.path().ends_with(".pem")
            && url.path().matches('/').count() == 1
            && url.query().is_none();
        if is_certificate { Ok(url) } else { Err(SnsError::Host) }
    }

    /// The URL that confirms the subscription; `None` for other kinds of messages.
    ///
    /// # Errors
    /// [`SnsError::Host`] when that is not at an SNS host.
    pub fn confirmation_url(&self) -> Result<Option<Url>, SnsError> {
        match (self.kind, &self.subscribe_url) {
            (Kind::SubscriptionConfirmation, Some(url)) => sns_url(url).map(Some),
            _ => Ok(None),
        }
    }

    /// Checks the signature with the certificate in `pem`.
    ///
    /// # Errors
    /// [`SnsError::Certificate`] and [`SnsError::Signature`].
    pub fn verify_with(&self, pem: &[u8]) -> Result<(), SnsError> {
        let der = CertificateDer::from_pem_slice(pem).map_err(|_| SnsError::Certificate)?;
        let certificate = EndEntityCert::try_from(&der).map_err(|_| SnsError::Certificate)?;
        let algorithm: &dyn SignatureVerificationAlgorithm = match self.signature_version.as_str() {
            "1" => &RsaSha1,
            "2" => RSA_PKCS1_2048_8192_SHA256,
            _ => return Err(SnsError::Signature),
        };
        let signature = STANDARD.decode(&self.signature).map_err(|_| SnsError::Signature)?;
        let content = self.canonical();
        certificate.verify_signature(algorithm, content.as_bytes(), &signature).map_err(|_| SnsError::Signature)
    }
}

/// Parses a URL at `https://sns.<region>.amazonaws.com`, or the same in China, without port, user or fragment.
fn sns_url(text: &str) -> Result<Url, SnsError> {
    let url: Url = text.parse().map_err(|_| SnsError::Host)?;
    let host = url.host_str().unwrap_or_default();
    let region = host
        .strip_suffix(".amazonaws.com")
        .or_else(|| host.strip_suffix(".amazonaws.com.cn"))
        .and_then(|rest| rest.strip_prefix("sns."))
        .unwrap_or_default();
    let is_region =
        !region.is_empty() && region.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    let is_plain = url.scheme() == "https"
        && url.port().is_none()
        && url.username().is_empty()
        && url.password().is_none()
        && url.fragment().is_none();
    if is_region && is_plain { Ok(url) } else { Err(SnsError::Host) }
}

/// RSA over SHA-1, as SNS signs unless a topic is set to version 2. webpki leaves SHA-1 out because of collisions. They do
/// not help here: a forger needs a second preimage of a digest that AWS signed.
#[derive(Debug)]
struct RsaSha1;

impl SignatureVerificationAlgorithm for RsaSha1 {
    fn verify_signature(&self, public_key: &[u8], message: &[u8], signature: &[u8]) -> Result<(), InvalidSignature> {
        UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY, public_key)
            .verify(message, signature)
            .map_err(|_| InvalidSignature)
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        alg_id::RSA_ENCRYPTION
    }

    // Used only to verify certificates, which this algorithm never does.
    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        alg_id::RSA_PKCS1_SHA256
    }
}

/// Verifies messages, and caches certificates for the life of the process.
#[derive(Clone)]
pub struct Verifier {
    http: Http,
    topics: Arc<[String]>,
    certificates: Arc<Mutex<HashMap<String, Arc<[u8]>>>>,
}

impl Verifier {
    /// Accepts messages of `topics` (ARNs) only. `http` is a [plain](Http::plain) client.
    pub fn new(http: Http, topics: impl IntoIterator<Item = String>) -> Self {
        Self { http, topics: topics.into_iter().collect(), certificates: Arc::default() }
    }

    /// Parses a message and verifies that SNS sent it for one of the topics.
    ///
    /// # Errors
    /// It is not authentic, or its certificate cannot be fetched now.
    pub async fn verify(&self, body: &[u8]) -> Result<SnsMessage, SnsError> {
        let message = SnsMessage::parse(body)?;
        if !self.topics.contains(&message.topic_arn) {
            return Err(SnsError::Topic);
        }
        let url = message.certificate_url()?;
        let kept = self.certificates().get(url.as_str()).cloned();
        let pem = match kept {
            Some(pem) => pem,
            None => {
                let request = self.http.request(SERVICE, Method::GET, url.clone()).map_err(SnsError::Fetch)?;
                Arc::from(&*call(SERVICE, request).await.map_err(SnsError::Fetch)?)
            }
        };
        message.verify_with(&pem)?;
        message.confirmation_url()?;
        let mut certificates = self.certificates();
        if certificates.len() < MAX_CERTIFICATES {
            certificates.insert(url.into(), pem);
        }
        drop(certificates);
        Ok(message)
    }

    /// Confirms the subscription of a verified message; `false` when the message is of another kind.
    ///
    /// # Errors
    /// [`SnsError::Fetch`] when SNS cannot be reached now.
    pub async fn confirm(&self, message: &SnsMessage) -> Result<bool, SnsError> {
        let Some(url) = message.confirmation_url()? else { return Ok(false) };
        let request = self.http.request(SERVICE, Method::GET, url).map_err(SnsError::Fetch)?;
        call(SERVICE, request).await.map_err(SnsError::Fetch)?;
        Ok(true)
    }

    fn certificates(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<[u8]>>> {
        self.certificates.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// Made with OpenSSL over a key that was thrown away; signatures too, so that they are not our own work.
    const CERTIFICATE: &[u8] = include_bytes!("../../tests/sns/certificate.pem");
    const OTHER_CERTIFICATE: &[u8] = include_bytes!("../../tests/sns/other-certificate.pem");
    const NOTIFICATION_1: &[u8] = include_bytes!("../../tests/sns/notification-v1.json");
    const NOTIFICATION_2: &[u8] = include_bytes!("../../tests/sns/notification-v2.json");
    const SUBSCRIPTION: &[u8] = include_bytes!("../../tests/sns/subscription-v2.json");

    fn message(body: &[u8]) -> SnsMessage {
        SnsMessage::parse(body).ok().unwrap()
    }

    #[test]
    fn both_versions_of_the_signature_are_verified() {
        for body in [NOTIFICATION_1, NOTIFICATION_2, SUBSCRIPTION] {
            message(body).verify_with(CERTIFICATE).unwrap();
            assert!(matches!(message(body).verify_with(OTHER_CERTIFICATE), Err(SnsError::Signature)));
            assert!(matches!(message(body).verify_with(b"<html>"), Err(SnsError::Certificate)));
        }
    }

    #[test]
    fn no_signed_field_can_be_changed() {
        type Change = fn(&mut SnsMessage);
        let changes: [Change; 8] = [
            |message| message.message.push('x'),
            |message| message.message_id.push('x'),
            |message| message.subject = Some("x".to_owned()),
            |message| message.timestamp.push('x'),
            |message| message.topic_arn.push('x'),
            |message| message.signature_version = "3".to_owned(),
            |message| message.signature.clear(),
            |message| message.kind = Kind::SubscriptionConfirmation,
        ];
        for body in [NOTIFICATION_1, NOTIFICATION_2] {
            for change in changes {
                let mut message = message(body);
                change(&mut message);
                assert!(matches!(message.verify_with(CERTIFICATE), Err(SnsError::Signature)));
            }
        }
        let mut subscription = message(SUBSCRIPTION);
        subscription.subscribe_url = Some("https://sns.eu-central-1.amazonaws.com/?x".to_owned());
        assert!(matches!(subscription.verify_with(CERTIFICATE), Err(SnsError::Signature)));
    }

    #[test]
    fn certificates_come_from_sns_hosts_only() {
        let of = |url: &str| {
            SnsMessage { signing_cert_url: url.to_owned(), ..message(NOTIFICATION_2) }.certificate_url().is_ok()
        };
        let file = "SimpleNotificationService-0123456789abcdef.pem";
        for host in
            ["sns.eu-central-1.amazonaws.com", "sns.us-gov-west-1.amazonaws.com", "sns.cn-north-1.amazonaws.com.cn"]
        {
            assert!(of(&format!("https://{host}/{file}")), "{host}");
        }
        for url in [
            format!("http://sns.eu-central-1.amazonaws.com/{file}"),
            format!("https://sns.eu-central-1.amazonaws.com.evil.test/{file}"),
            format!("https://sns.evil.test/{file}"),
            format!("https://bucket.s3.amazonaws.com/{file}"),
            format!("https://sns.a.b.amazonaws.com/{file}"),
            format!("https://sns..amazonaws.com/{file}"),
            format!("https://evil.test/sns.eu-central-1.amazonaws.com/{file}"),
            format!("https://sns.eu-central-1.amazonaws.com@evil.test/{file}"),
            format!("https://sns.eu-central-1.amazonaws.com:8443/{file}"),
            format!("https://sns.eu-central-1.amazonaws.com/x/{file}"),
            format!("https://sns.eu-central-1.amazonaws.com/{file}?x"),
            "https://sns.eu-central-1.amazonaws.com/?Action=ListTopics&x=.pem".to_owned(),
        ] {
            assert!(!of(&url), "{url}");
        }
    }

    #[test]
    fn a_subscription_is_confirmed_at_an_sns_host_only() {
        let url = message(SUBSCRIPTION).confirmation_url().unwrap().unwrap();
        assert_eq!(url.host_str(), Some("sns.eu-central-1.amazonaws.com"));
        let elsewhere = SnsMessage {
            subscribe_url: Some("https://evil.test/?Action=ConfirmSubscription".into()),
            ..message(SUBSCRIPTION)
        };
        assert!(matches!(elsewhere.confirmation_url(), Err(SnsError::Host)));
        assert!(message(NOTIFICATION_2).confirmation_url().unwrap().is_none());
    }

    #[tokio::test]
    async fn a_foreign_topic_is_refused_before_anything_is_fetched() {
        let verifier = |topics: &[&str]| {
            let http = Http::plain(Duration::from_secs(1)).unwrap();
            Verifier::new(http, topics.iter().map(|topic| (*topic).to_owned()))
        };
        for topics in [&[][..], &["arn:aws:sns:eu-central-1:999999999999:ses"]] {
            assert!(matches!(verifier(topics).verify(NOTIFICATION_2).await, Err(SnsError::Topic)));
        }
        let ours = verifier(&["arn:aws:sns:eu-central-1:123456789012:ses-reports"]);
        let url = message(NOTIFICATION_2).certificate_url().unwrap().to_string();
        ours.certificates().insert(url, CERTIFICATE.into());
        assert!(ours.verify(NOTIFICATION_2).await.is_ok());
        assert!(matches!(ours.verify(b"{}").await, Err(SnsError::Malformed)));
    }
}
