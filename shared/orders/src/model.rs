//! What this workflow talks about: marketplaces, receipts and their outcomes.

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

/// A marketplace we import from.
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
    /// All of them, in the order that error messages name them.
    pub const ALL: [Self; 3] = [Self::Etsy, Self::Shopify, Self::Amazon];

    /// Its name on the wire.
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

/// Not one of the marketplaces; names are case-sensitive.
#[derive(Debug, thiserror::Error)]
#[error("expected etsy, shopify or amazon")]
pub struct UnknownMarketplace;

impl FromStr for Marketplace {
    type Err = UnknownMarketplace;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|marketplace| marketplace.name() == name).ok_or(UnknownMarketplace)
    }
}

/// An amount with two decimals, in hundredths of the currency's unit whatever that currency's own minor unit is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Amount(i64);

impl Amount {
    /// So many whole units; beyond 92 quadrillion it stays there.
    pub fn whole(units: i64) -> Self {
        Self(units.saturating_mul(100))
    }

    /// `numerator / divisor`, rounded half away from zero; `None` when that is no amount.
    pub fn from_ratio(numerator: i64, divisor: i64) -> Option<Self> {
        if divisor <= 0 {
            return None;
        }
        let (hundredths, divisor) = (i128::from(numerator) * 100, i128::from(divisor));
        let half = if hundredths < 0 { -divisor } else { divisor };
        i64::try_from((2 * hundredths + half) / (2 * divisor)).ok().map(Self)
    }

    /// Reads `12.345`; `None` when it is no plain decimal.
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

    /// As a JSON number: `741`, `12.35`.
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
    /// There is such an order.
    Found {
        /// The marketplace's id of it.
        order_id: String,
        /// What was paid.
        amount: Amount,
        /// Three letters, usually.
        currency: String,
    },
    /// There is no such order.
    Invalid,
    /// Too many calls.
    RateLimited {
        /// The marketplace's own wish.
        retry_after: Option<Duration>,
        /// Whether it concerns every call with these credentials, so that others need not be tried.
        account_wide: bool,
    },
    /// The credentials are refused.
    Auth,
    /// Any other refusal, with HTTP's reason phrase.
    Refused(String),
    /// No usable answer: unreachable, timed out, nonsense, or our own credentials are not set.
    Unavailable,
}

/// Outcome of a receipt so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LogStatus {
    /// Not answered yet; tried again.
    Pending,
    /// Imported.
    Success,
    /// Refused; tried again, but not indefinitely.
    Failed,
    /// Put off by the marketplace; tried again.
    RateLimited,
}

/// A store's health, from its newest receipts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SyncStatus {
    /// No receipts yet.
    Pending,
    /// The newest succeeded and none of the newest twenty is bad.
    Success,
    /// Some good, some bad.
    Partial,
    /// The newest failed and none of the newest twenty is good.
    Failed,
}

impl SyncStatus {
    /// Its name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Success => "success",
            Self::Partial => "partial",
            Self::Failed => "failed",
        }
    }
}

/// The state of one receipt: what the columns of its row say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogState {
    /// Its outcome.
    pub status: LogStatus,
    /// The order, once imported.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order_id: Option<String>,
    /// Its amount.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub amount: Option<Amount>,
    /// Its currency.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub currency: Option<String>,
    /// Why it is not imported: a code, or `<Name>: <text>`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_details: Option<String>,
    /// How often the marketplace put it off or did not answer.
    pub attempt: u32,
    /// How often the background sync found it refused.
    #[serde(default)]
    pub retries: u32,
    /// When it may be tried again; absent means at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_retry_at: Option<Timestamp>,
    /// Whether it was refused too often; only a manual retry opens it again.
    #[serde(default)]
    pub retry_exhausted: bool,
    /// When it was imported.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub imported_at: Option<Timestamp>,
}

impl LogState {
    /// A receipt that nobody asked about yet.
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

    /// Whether the background sync has anything left to do for it.
    pub fn is_unfinished(&self) -> bool {
        self.status != LogStatus::Success && !self.retry_exhausted
    }

    /// The error as clients see it, without the name of its kind, so that first answers and replays are alike.
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

/// What one run of a store's sync did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Counts {
    /// Rows asked about.
    pub processed_count: u32,
    /// Imported.
    pub success_count: u32,
    /// Refused, or not answered.
    pub failed_count: u32,
    /// Put off.
    pub rate_limited_count: u32,
}

impl Counts {
    /// Counts one more row.
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
