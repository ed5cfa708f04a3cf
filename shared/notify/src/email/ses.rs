//! SES version 2: `POST /v2/email/outbound-emails`, signed.
//!
//! The SDK's client would be large for this one call; the signature is made with the SDK's crate.

use super::encoded;
use crate::config::{EmailConfig, SesConfig};
use crate::message::Message;
use crate::outcome::{Outcome, code_of};
use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign as sign_request};
use aws_sigv4::sign::v4;
use http::HeaderMap;
use serde_json::{Value, json};
use std::time::{Duration, SystemTime};

pub(crate) const SERVICE: &str = "SES";
pub(crate) const PATH: &str = "/v2/email/outbound-emails";

/// The wait after a daily quota is reached.
const QUOTA_WAIT: Duration = Duration::from_secs(600);

/// The request's body. Later reports are matched by the tag.
pub fn request(config: &EmailConfig, ses: &SesConfig, message: &Message, delivery_id: &str) -> Value {
    let utf8 = |data: &str| json!({"Data": data, "Charset": "UTF-8"});
    let mut bodies = json!({});
    if !message.text.is_empty() || message.html.is_none() {
        bodies["Text"] = utf8(&message.text);
    }
    if let Some(html) = &message.html {
        bodies["Html"] = utf8(html);
    }
    let mut request = json!({
        "FromEmailAddress": encoded(&config.from),
        "Destination": {"ToAddresses": [message.to]},
        "Content": {"Simple": {"Subject": utf8(&message.subject), "Body": bodies}},
        "EmailTags": [{"Name": "deliveryId", "Value": delivery_id}],
    });
    if let Some(reply_to) = &config.reply_to {
        request["ReplyToAddresses"] = json!([encoded(reply_to)]);
    }
    if let Some(set) = &ses.configuration_set {
        request["ConfigurationSetName"] = json!(set);
    }
    request
}

/// The headers that sign a request, `content-type` among them; `None` when it cannot be signed.
pub(crate) fn sign(
    url: &str,
    body: &str,
    region: &str,
    credentials: Credentials,
    now: SystemTime,
) -> Option<Vec<(String, String)>> {
    let identity = credentials.into();
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name("ses")
        .time(now)
        .settings(SigningSettings::default())
        .build()
        .ok()?
        .into();
    let content_type = ("content-type", "application/json");
    let signable =
        SignableRequest::new("POST", url, [content_type].into_iter(), SignableBody::Bytes(body.as_bytes())).ok()?;
    let (instructions, _) = sign_request(signable, &params).ok()?.into_parts();
    let added = instructions.headers();
    Some(added.chain([content_type]).map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
}

/// Classifies a response. The error's name is in a header or in the body.
pub fn classify(status: u16, headers: &HeaderMap, body: &[u8]) -> Outcome {
    let answer: Value = serde_json::from_slice(body).unwrap_or_default();
    if let (200..=299, Some(id)) = (status, answer["MessageId"].as_str()) {
        return Outcome::sent(id);
    }
    let of = |names: [&str; 2]| names.into_iter().find_map(|name| answer[name].as_str()).unwrap_or_default();
    let header = headers.get("x-amzn-errortype").and_then(|value| value.to_str().ok());
    // `com.amazon.x#MessageRejected`, `MessageRejected:http://…`
    let name = header.unwrap_or_else(|| of(["__type", "code"]));
    let name = name.split(':').next().unwrap_or_default().rsplit('#').next().unwrap_or_default();
    let name = name.strip_suffix("Exception").unwrap_or(name);
    let code = code_of("ses", name, status);
    match name {
        "TooManyRequests" | "Throttling" if of(["message", "Message"]).to_ascii_lowercase().contains("daily") => {
            Outcome::retry_after(Some(QUOTA_WAIT), code)
        }
        "LimitExceeded" => Outcome::retry_after(Some(QUOTA_WAIT), code),
        "TooManyRequests" | "Throttling" => Outcome::retry(code),
        "MessageRejected" | "BadRequest" => Outcome::message(code),
        "MailFromDomainNotVerified" | "SendingPaused" | "AccountSuspended" | "NotFound" | "AccessDenied" => {
            Outcome::config(code)
        }
        // The platform's signature or credentials are at fault, not the tenant's config.
        _ if matches!(status, 401 | 403) => Outcome::retry(code),
        _ if matches!(status, 400..=499) && !matches!(status, 408 | 409 | 429) => Outcome::message(code),
        _ => Outcome::retry(code),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Transport;
    use crate::email::testing::config;

    fn ses() -> SesConfig {
        SesConfig { region: "eu-central-1".into(), configuration_set: Some("reports".into()) }
    }

    #[test]
    fn the_request() {
        let message = Message {
            to: "a@b.test".into(),
            subject: "Grüße".into(),
            text: "Text".into(),
            html: Some("<p>Html</p>".into()),
            ..Message::default()
        };
        let body = request(&config(Transport::Ses(ses())), &ses(), &message, "d1");
        let utf8 = |data: &str| json!({"Data": data, "Charset": "UTF-8"});
        assert_eq!(
            body,
            json!({
                "FromEmailAddress": "=?utf-8?b?U2NoYWx0d2VyayDinIk=?= <alerts@acme.test>",
                "Destination": {"ToAddresses": ["a@b.test"]},
                "ReplyToAddresses": ["help@acme.test"],
                "Content": {"Simple": {"Subject": utf8("Grüße"), "Body": {"Text": utf8("Text"), "Html": utf8("<p>Html</p>")}}},
                "ConfigurationSetName": "reports",
                "EmailTags": [{"Name": "deliveryId", "Value": "d1"}],
            })
        );
        let only_html = Message { text: String::new(), ..message };
        let body = request(&config(Transport::Ses(ses())), &ses(), &only_html, "d1");
        assert!(body["Content"]["Simple"]["Body"].get("Text").is_none());
    }

    #[test]
    fn every_response() {
        let table = [
            (429, "TooManyRequestsException", "Maximum sending rate exceeded.", Outcome::retry("ses_TooManyRequests")),
            (400, "Throttling", "Maximum sending rate exceeded.", Outcome::retry("ses_Throttling")),
            (
                429,
                "TooManyRequestsException",
                "Daily message quota exceeded.",
                Outcome::retry_after(Some(QUOTA_WAIT), "ses_TooManyRequests"),
            ),
            (400, "LimitExceededException", "", Outcome::retry_after(Some(QUOTA_WAIT), "ses_LimitExceeded")),
            (400, "MessageRejected", "Email address is not verified.", Outcome::message("ses_MessageRejected")),
            (400, "BadRequestException", "", Outcome::message("ses_BadRequest")),
            (400, "MailFromDomainNotVerifiedException", "", Outcome::config("ses_MailFromDomainNotVerified")),
            (400, "SendingPausedException", "", Outcome::config("ses_SendingPaused")),
            (400, "AccountSuspendedException", "", Outcome::config("ses_AccountSuspended")),
            (404, "NotFoundException", "", Outcome::config("ses_NotFound")),
            (403, "AccessDeniedException", "", Outcome::config("ses_AccessDenied")),
            (403, "ExpiredTokenException", "", Outcome::retry("ses_ExpiredToken")),
            (403, "InvalidSignatureException", "", Outcome::retry("ses_InvalidSignature")),
            (500, "InternalServiceError", "", Outcome::retry("ses_InternalServiceError")),
            (503, "", "", Outcome::retry("ses_503")),
            (302, "", "", Outcome::retry("ses_302")),
            (413, "", "", Outcome::message("ses_413")),
            (200, "", "", Outcome::retry("ses_200")),
        ];
        for (status, name, message, outcome) in table {
            let mut headers = HeaderMap::new();
            if !name.is_empty() {
                headers
                    .insert("x-amzn-ErrorType", format!("{name}:http://internal.amazon.com/coral/").parse().unwrap());
            }
            let body = json!({"message": message}).to_string();
            assert_eq!(classify(status, &headers, body.as_bytes()), outcome, "{status} {name}");
            let body = json!({"__type": format!("com.amazonaws.ses#{name}"), "message": message}).to_string();
            assert_eq!(classify(status, &HeaderMap::new(), body.as_bytes()), outcome, "{status} {name}");
        }
        assert_eq!(classify(200, &HeaderMap::new(), br#"{"MessageId":"0107"}"#), Outcome::sent("0107"));
    }

    #[test]
    fn requests_are_signed_for_the_service_and_region() {
        let credentials = Credentials::new("AKIDEXAMPLE", "secret", Some("token".into()), None, "test");
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_607_200);
        let url = format!("https://email.eu-central-1.amazonaws.com{PATH}");
        let headers = sign(&url, "{}", "eu-central-1", credentials, now).unwrap();
        let of = |name: &str| headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str()).unwrap();
        assert_eq!((of("x-amz-date"), of("x-amz-security-token")), ("20260105T100000Z", "token"));
        let wanted = "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20260105/eu-central-1/ses/aws4_request, \
             SignedHeaders=content-type;host;x-amz-date;x-amz-security-token, Signature=";
        assert!(of("authorization").starts_with(wanted), "{}", of("authorization"));
    }
}
