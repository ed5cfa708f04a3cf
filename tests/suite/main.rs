//! The one integration-test binary. `tidy` holds the house rules, `it` drives single parts against real engines, `e2e`
//! knows nothing but URLs and runs against `cargo dev`'s host or a deployed stack alike.

mod e2e;
mod it;
mod tidy;
