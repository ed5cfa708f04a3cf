//! The one integration-test binary. `tidy` holds the house rules, `it` drives single parts against real engines, `e2e`
//! knows nothing but URLs and runs against `cargo dev`'s host or a deployed stack alike.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on should say where")]

mod api;
mod e2e;
mod it;
mod logs;
mod tidy;
