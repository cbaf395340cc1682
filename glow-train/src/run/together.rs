//! What the processes of a team must know alike besides the model, so that they take the same way through
//! the run.
use super::Run;
use crate::distributed::DistributedError;
use crate::error::TrainError;
use crate::evaluate::Score;

impl Run {
    /// Sends to all what rank 0 knows of the steps of the last checkpoint, validation and sample grids.
    pub(super) fn share_progress(&mut self) -> Result<(), TrainError> {
        if self.team.size() == 1 {
            return Ok(());
        }
        // Floats travel as their bits.
        let (validated, score) = self.validated.unzip();
        let ours = [
            self.saved.map(|(step, _)| step),
            self.saved.and_then(|(_, validated)| validated),
            self.sampled,
            validated,
            score.map(|score| score.images as u64),
            score.map(|score| score.bits_per_dim.to_bits()),
            score.map(|score| score.standard_error.to_bits()),
        ];
        let ours = serde_json::to_vec(&ours).expect("numbers are representable as JSON");
        let lead = self.team.of_lead(ours, "sharing the run's progress")?;
        let lead: [Option<u64>; 7] =
            serde_json::from_slice(&lead).map_err(|_| DistributedError::Differs {
                differences: vec!["rank 0 is another version of this program".into()],
            })?;
        let [saved, saved_validated, sampled, validated, images, bits_per_dim, standard_error] = lead;
        self.saved = saved.map(|step| (step, saved_validated));
        self.sampled = sampled;
        self.validated = validated.zip(images).map(|(step, images)| {
            let score = Score {
                images: images as usize,
                bits_per_dim: bits_per_dim.map_or(f64::NAN, f64::from_bits),
                standard_error: standard_error.map_or(f64::NAN, f64::from_bits),
            };
            (step, score)
        });
        Ok(())
    }
}
