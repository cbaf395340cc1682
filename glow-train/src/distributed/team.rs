//! The processes that train one model, seen from the training loop: this one alone, or a group.
//!
//! What the loop asks of a team costs nothing where there is one process.
use super::error::DistributedError;
use super::group::{Pending, ProcessGroup};
use crate::torch::no_grad;
use glow_data::Part;
use tch::{Kind, Tensor};

/// This process alone, or as a member of a group.
#[derive(Debug, Default)]
pub struct Team {
    group: Option<ProcessGroup>,
}

impl From<ProcessGroup> for Team {
    fn from(group: ProcessGroup) -> Self {
        Self { group: Some(group) }
    }
}

impl Team {
    /// One process.
    pub fn alone() -> Self {
        Self::default()
    }

    /// This process's number, from 0.
    pub fn rank(&self) -> usize {
        self.group.as_ref().map_or(0, ProcessGroup::rank)
    }

    /// Processes in all.
    pub fn size(&self) -> usize {
        self.group.as_ref().map_or(1, ProcessGroup::world_size)
    }

    /// Whether this process writes the run's files and speaks to the user.
    pub fn leads(&self) -> bool {
        self.rank() == 0
    }

    /// Whether an operation failed, so that the processes can agree on nothing more.
    pub fn is_broken(&self) -> bool {
        self.group.as_ref().is_some_and(ProcessGroup::is_broken)
    }

    /// This process's part of what is shared out.
    pub fn part(&self) -> Part {
        Part { index: self.rank(), of: self.size() }
    }

    /// Of each of some truths, whether any process says so.
    ///
    /// # Errors
    /// As for every operation of a group: see [`ProcessGroup::all_reduce`]. So below.
    pub fn any<const N: usize>(
        &self,
        ours: [bool; N],
        doing: &'static str,
    ) -> Result<[bool; N], DistributedError> {
        let Some(group) = &self.group else {
            return Ok(ours);
        };
        let votes = Tensor::from_slice(&ours.map(|vote| f64::from(u8::from(vote))));
        group.begin_all_reduce(&votes, doing)?.finish(group)?;
        let sums = Vec::<f64>::try_from(votes).expect("a vector of doubles");
        Ok(std::array::from_fn(|index| sums[index] > 0.0))
    }

    /// Rank 0's number for all.
    ///
    /// # Errors
    /// See [`Team::any`].
    pub fn number_of_lead(&self, ours: f64, doing: &'static str) -> Result<f64, DistributedError> {
        let Some(group) = &self.group else {
            return Ok(ours);
        };
        // A sum of one number and zeros, which is exact.
        let number = Tensor::from_slice(&[if self.leads() { ours } else { 0.0 }]);
        group.begin_all_reduce(&number, doing)?.finish(group)?;
        Ok(number.double_value(&[0]))
    }

    /// Replaces a tensor by the sum of the processes' tensors, which are of one size by the run's
    /// description.
    ///
    /// # Errors
    /// See [`Team::any`].
    pub fn sum(&self, tensor: &Tensor, doing: &'static str) -> Result<(), DistributedError> {
        match &self.group {
            Some(group) => group.begin_all_reduce(tensor, doing)?.finish(group),
            None => Ok(()),
        }
    }

    /// Begins to replace a tensor by the sum of the processes' tensors; with `bf16` they are rounded to
    /// bfloat16 on their way, which halves the traffic.
    ///
    /// # Errors
    /// See [`Team::any`].
    pub fn begin_sum(
        &self,
        tensor: &Tensor,
        bf16: bool,
        doing: &'static str,
    ) -> Result<Option<PendingSum>, DistributedError> {
        let Some(group) = &self.group else {
            return Ok(None);
        };
        let rounded = bf16.then(|| tensor.to_kind(Kind::BFloat16));
        let pending = group.begin_all_reduce(rounded.as_ref().unwrap_or(tensor), doing)?;
        Ok(Some(PendingSum { pending, sum: tensor.shallow_clone(), rounded }))
    }

    /// Waits for sums that were begun.
    ///
    /// # Errors
    /// See [`Team::any`].
    pub fn finish(&self, sums: impl IntoIterator<Item = PendingSum>) -> Result<(), DistributedError> {
        for PendingSum { pending, mut sum, rounded } in sums {
            pending.finish(self.group.as_ref().expect("a group began it"))?;
            if let Some(rounded) = rounded {
                no_grad(|| sum.copy_(&rounded));
            }
        }
        Ok(())
    }

    /// Makes sure that all processes have tensors of the same types and sizes.
    ///
    /// # Errors
    /// See [`Team::any`].
    pub fn agree(&self, tensors: &[&Tensor], doing: &'static str) -> Result<(), DistributedError> {
        self.group.as_ref().map_or(Ok(()), |group| group.agree(tensors, doing))
    }

    /// Rank 0's tensor for all, in place.
    ///
    /// # Errors
    /// See [`Team::any`]; and where the tensors are not of one size.
    pub fn broadcast(&self, tensor: &Tensor, doing: &'static str) -> Result<(), DistributedError> {
        self.group.as_ref().map_or(Ok(()), |group| group.broadcast(tensor, 0, doing))
    }

    /// The bytes of every process, by rank.
    ///
    /// # Errors
    /// See [`Team::any`].
    pub fn gather(&self, bytes: Vec<u8>, doing: &'static str) -> Result<Vec<Vec<u8>>, DistributedError> {
        match &self.group {
            Some(group) => group.all_gather_bytes(&bytes, doing),
            None => Ok(vec![bytes]),
        }
    }

    /// Rank 0's bytes for all; the others' are dropped.
    ///
    /// # Errors
    /// See [`Team::any`].
    pub fn of_lead(&self, bytes: Vec<u8>, doing: &'static str) -> Result<Vec<u8>, DistributedError> {
        let ours = if self.leads() { bytes } else { Vec::new() };
        Ok(self.gather(ours, doing)?.swap_remove(0))
    }

    /// Makes sure that values which must be the same for all are: `what` they are.
    ///
    /// # Errors
    /// [`DistributedError::Differs`]; and see [`Team::any`].
    pub fn compare(&self, ours: &super::Description, doing: &'static str) -> Result<(), DistributedError> {
        let text = serde_json::to_vec(ours).expect("a description is representable as JSON");
        let all = self.gather(text, doing)?;
        let read = |bytes: &Vec<u8>| serde_json::from_slice::<super::Description>(bytes).unwrap_or_default();
        let lead = read(&all[0]);
        let differences: Vec<String> =
            all.iter().enumerate().flat_map(|(rank, bytes)| lead.differences(rank, &read(bytes))).collect();
        match differences.is_empty() {
            true => Ok(()),
            false => Err(DistributedError::Differs { differences }),
        }
    }

    /// Tells the others why this process fails.
    pub fn announce(&self, error: &str) {
        if let Some(group) = &self.group {
            group.announce(error);
        }
    }

    /// Ends together with the others.
    ///
    /// # Errors
    /// See [`Team::any`].
    pub fn close(&self) -> Result<(), DistributedError> {
        self.group.as_ref().map_or(Ok(()), ProcessGroup::close)
    }
}

/// A sum under way; its tensor must not be touched until it is finished.
#[derive(Debug)]
pub struct PendingSum {
    pending: Pending,
    sum: Tensor,
    /// What travels, where that is not the tensor itself.
    rounded: Option<Tensor>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_process_agrees_with_itself() {
        let team = Team::alone();
        assert!(team.leads() && team.part() == Part::WHOLE);
        assert_eq!(team.any([true, false], "testing").unwrap(), [true, false]);
        assert_eq!(team.of_lead(vec![1, 2], "testing").unwrap(), [1, 2]);
        let ones = Tensor::ones([3], tch::kind::FLOAT_CPU);
        assert!(team.begin_sum(&ones, true, "testing").unwrap().is_none());
        team.close().unwrap();
    }
}
