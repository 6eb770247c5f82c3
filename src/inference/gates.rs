//! The gates of one model, for one image: what its header says, what its pixels are like, what the network makes of them.
//!
//! Each leaves its check where the answer shows it, whether the image passes or not.

use super::ServedModel;
use crate::dicom::Attributes;
use crate::fault::{Fault, FaultKind};
use crate::finding::{
    DistributionCheck, EmbeddingStatistics, IntendedUse, IntendedUseCheck, NoDistance, Overrides,
    QualityCheck, QualityLimits, finite,
};
use crate::image::Quality;

/// The gates of a model, and which of them the caller sets aside.
pub(super) struct Gates {
    intended_use: IntendedUse,
    quality: Option<QualityLimits>,
    overrides: Overrides,
}

impl Gates {
    pub(super) fn of(model: &ServedModel, overrides: Overrides) -> Self {
        Self {
            intended_use: model.manifest.intended_use.clone(),
            quality: model.manifest.quality,
            overrides,
        }
    }

    /// The intended use, before anything is decoded.
    pub(super) fn header(&self, attributes: &Attributes) -> Result<IntendedUseCheck, Fault> {
        self.overrides
            .intended_use(self.intended_use.violations(attributes))
    }

    /// The quality, before the network is run.
    pub(super) fn pixels(&self, measured: Quality, check: &mut Option<QualityCheck>) -> Result<(), Fault> {
        let Some(limits) = self.quality else {
            return Ok(());
        };
        let (judged, refusal) = limits.judge(measured, &self.overrides);
        *check = Some(judged);
        refusal.map_or(Ok(()), Err)
    }

    /// The distribution, before the network's answer is given out. An embedding that is no row of numbers is never passed on.
    pub(super) fn features(
        &self,
        known: Option<&EmbeddingStatistics>,
        embedding: Option<&[f32]>,
        check: &mut Option<DistributionCheck>,
    ) -> Result<(), Fault> {
        let failed = |error: NoDistance| Fault::new(FaultKind::Internal, error.code(), error.to_string());
        let features = embedding.unwrap_or_default();
        finite(features).map_err(failed)?;
        let Some(known) = known else {
            return Ok(());
        };
        let (judged, refusal) = known.judge(features, &self.overrides).map_err(failed)?;
        *check = Some(judged);
        refusal.map_or(Ok(()), Err)
    }
}
