//! DICOMweb (PS3.18): one file for each service.

mod service_url;
pub mod stow;
mod stow_answer;
pub mod workitems;

#[cfg(test)]
pub(super) mod fixture;
#[cfg(test)]
mod stow_tests;
