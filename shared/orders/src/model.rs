//! Marketplaces, receipts and their outcomes, and the ids of this workflow.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt::{self, Display, Formatter};
use std::str::FromStr;
use std::time::Duration;
use switchyard_core::id_type;

id_type! {
    /// A store's id, a UUID v7.
    pub StoreId;
    /// What names a store in clients' calls, a UUID v7; anyone who has it may import for the store.
    pub SyncToken;
    /// A store's id at its marketplace.
    pub ExternalStoreId;
    /// A receipt, as the marketplace knows it: up to 255 characters.
    pub ReceiptId;
    /// Our id of a receipt's log, a UUID v7: ids sort by creation.
    pub LogId;
    /// An event's id, a UUID v7.
    pub EventId;
}

/// A marketplace that orders are imported from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Marketplace {
    /// Etsy.
    Etsy,
    /// Shopify.
    Shopify,
    /// Amazon.
    Amazon,
}

impl Marketplace {
    /// All marketplaces, in the order of error messages.
    pub const ALL: [Self; 3] = [Self::Etsy, Self::Shopify, Self::Amazon];

    /// The name in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Etsy => "etsy",
            Self::Shopify => "shopify",
            Self::Amazon => "amazon",
        }
    }
}

impl Display for Marketplace {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// An unknown name of a marketplace; names are case-sensitive.
#[derive(Debug, thiserror::Error)]
#[error("expected etsy, shopify or amazon")]
pub struct UnknownMarketplace;

impl FromStr for Marketplace {
    type Err = UnknownMarketplace;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|marketplace| marketplace.name() == name).ok_or(UnknownMarketplace)
    }
}

/// An amount with two decimals, in hundredths of the currency's main unit, for every currency.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Amount(i64);

impl Amount {
    /// An amount of whole units, capped at 92 quadrillion.
    pub fn whole(units: i64) -> Self {
        Self(units.saturating_mul(100))
    }

    /// `numerator / divisor`, rounded half away from zero; `None` when the divisor is not positive or the result too large.
    pub fn from_ratio(numerator: i64, divisor: i64) -> Option<Self> {
        if divisor <= 0 {
            return None;
        }
        let (hundredths, divisor) = (i128::from(numerator) * 100, i128::from(divisor));
        let half = if hundredths < 0 { -divisor } else { divisor };
        i64::try_from((2 * hundredths + half) / (2 * divisor)).ok().map(Self)
    }

    /// Parses a plain decimal such as `12.345`; `None` when it is not one.
    pub fn parse(text: &str) -> Option<Self> {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let fraction = fraction.get(..fraction.len().min(9))?;
        let digits = whole.strip_prefix('-').unwrap_or(whole);
        if digits.is_empty() || !digits.bytes().chain(fraction.bytes()).all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let divisor = 10_i64.checked_pow(u32::try_from(fraction.len()).ok()?)?;
        Self::from_ratio(format!("{whole}{fraction}").parse().ok()?, divisor)
    }

    /// The amount as a JSON number: `741`, `12.35`.
    pub fn to_json(self) -> serde_json::Number {
        if self.0 % 100 == 0 {
            return (self.0 / 100).into();
        }
        let sign = if self.0 < 0 { "-" } else { "" };
        let text = format!("{sign}{}.{:02}", self.0.unsigned_abs() / 100, self.0.unsigned_abs() % 100);
        // Text of this form always reads as a number.
        serde_json::from_str(&text).unwrap_or_else(|_| 0.into())
    }
}

/// What a marketplace says about a receipt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The order exists.
    Found {
        /// The marketplace's id of the order.
        order_id: String,
        /// What was paid.
        amount: Amount,
        /// ISO 4217, as the marketplace sends it.
        currency: String,
    },
    /// The marketplace has no order for the receipt.
    Invalid,
    /// Too many calls.
    RateLimited {
        /// The wait that the marketplace asks for.
        retry_after: Option<Duration>,
        /// Whether the limit holds for every call with these credentials.
        account_wide: bool,
    },
    /// The credentials are refused.
    Auth,
    /// Any other refusal, with HTTP's reason phrase.
    Refused(String),
    /// No usable response: unreachable, timed out, malformed, or the platform's own credentials are not set.
    Unavailable,
}

/// The status of a receipt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LogStatus {
    /// Not answered yet; retried.
    Pending,
    /// Imported.
    Success,
    /// Refused; retried a limited number of times.
    Failed,
    /// Limited by the marketplace; retried.
    RateLimited,
}

/// The status of a store, from its newest receipts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SyncStatus {
    /// No receipts yet.
    Pending,
    /// The newest succeeded, and none of the newest twenty failed or is rate limited.
    Success,
    /// Neither `success` nor `failed`.
    Partial,
    /// The newest failed, and none of the newest twenty succeeded.
    Failed,
}

impl SyncStatus {
    /// The name in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Success => "success",
            Self::Partial => "partial",
            Self::Failed => "failed",
        }
    }
}

/// The state of one receipt, as its row stores it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogState {
    /// The status.
    pub status: LogStatus,
    /// The marketplace's id of the order, once imported.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order_id: Option<String>,
    /// The order's amount.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub amount: Option<Amount>,
    /// The order's currency.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub currency: Option<String>,
    /// Why it is not imported: a code, or `<Name>: <text>`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_details: Option<String>,
    /// How often the marketplace limited the call or did not respond.
    pub attempt: u32,
    /// How often the marketplace refused it when the sync asked.
    #[serde(default)]
    pub retries: u32,
    /// When it is retried; absent means at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_retry_at: Option<Timestamp>,
    /// Whether it was refused too often; only a retry on request reopens it.
    #[serde(default)]
    pub retry_exhausted: bool,
    /// When it was imported.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub imported_at: Option<Timestamp>,
}

impl LogState {
    /// A receipt that the marketplace was not asked about yet.
    pub fn new() -> Self {
        Self {
            status: LogStatus::Pending,
            order_id: None,
            amount: None,
            currency: None,
            error_details: None,
            attempt: 0,
            retries: 0,
            next_retry_at: None,
            retry_exhausted: false,
            imported_at: None,
        }
    }

    /// Whether the sync still has to ask about it.
    pub fn is_unfinished(&self) -> bool {
        self.status != LogStatus::Success && !self.retry_exhausted
    }

    /// The error as clients see it, without the name of its kind, so that first responses and replays are alike.
    pub fn public_error(&self) -> &str {
        let text = self.error_details.as_deref().unwrap_or("Import failed");
        ["AuthError: ", "MarketplaceError: "].iter().find_map(|name| text.strip_prefix(name)).unwrap_or(text)
    }
}

impl Default for LogState {
    fn default() -> Self {
        Self::new()
    }
}

/// The counts of one run of a store's sync.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Counts {
    /// Receipts asked about.
    pub processed_count: u32,
    /// Imported.
    pub success_count: u32,
    /// Refused, or without a response.
    pub failed_count: u32,
    /// Rate limited.
    pub rate_limited_count: u32,
}

impl Counts {
    /// Counts one receipt.
    pub fn add(&mut self, status: LogStatus) {
        self.processed_count += 1;
        match status {
            LogStatus::Success => self.success_count += 1,
            LogStatus::RateLimited => self.rate_limited_count += 1,
            LogStatus::Failed | LogStatus::Pending => self.failed_count += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_keep_two_decimals_and_round_half_away_from_zero() {
        for (text, json) in [
            ("0", "0"),
            ("741", "741"),
            ("12.345", "12.35"),
            ("12.344", "12.34"),
            ("0.005", "0.01"),
            ("-0.005", "-0.01"),
            ("99.9", "99.9"),
            ("1.100000000000000001", "1.1"),
        ] {
            assert_eq!(Amount::parse(text).unwrap().to_json().to_string(), json, "{text}");
        }
        for text in ["", ".", "-", "1e3", "1,5", "1.2.3", "99999999999999999999", "٣"] {
            assert_eq!(Amount::parse(text), None, "{text}");
        }
        assert_eq!(Amount::from_ratio(12_345, 1000), Amount::parse("12.345"));
        assert_eq!(Amount::from_ratio(1, 0), None);
    }
}
