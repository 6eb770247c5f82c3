//! DICOMweb (PS3.18): one file for each service.

pub mod stow;
mod stow_answer;

#[cfg(test)]
pub(super) mod fixture;
#[cfg(test)]
mod stow_tests;
