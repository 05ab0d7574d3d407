//! Who plays what: models by weight, faults by share, dealt so that the shares are exact.

use trunkline_engine::rng::Rng;

use super::super::plan::FaultPlan;

/// Model and fault of an agent; fault 0 is none, others are one more than their place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Role {
    pub(super) model: u8,
    pub(super) fault: u8,
}

/// Deals models by weight and faults by share to `count` agents, in an order that chance made.
pub(super) fn cast(count: u32, weights: &[u32], faults: &FaultPlan, rng: &mut Rng) -> Vec<Role> {
    let total: u64 = weights.iter().copied().map(u64::from).sum();
    let model_of = |agent: u32| {
        let mut at = u64::from(agent) % total;
        let chosen = weights.iter().position(|weight| {
            let hit = at < u64::from(*weight);
            at = at.saturating_sub(u64::from(*weight));
            hit
        });
        chosen.unwrap_or(0) as u8
    };
    let mut roles: Vec<Role> = (0..count)
        .map(|agent| Role {
            model: model_of(agent),
            fault: 0,
        })
        .collect();
    // Shares are dealt to a shuffled list of agents, so that faults fall on all models alike.
    let mut order: Vec<u32> = (0..count).collect();
    for last in (1..order.len()).rev() {
        let other = rng.below(last as u64 + 1) as usize;
        order.swap(last, other);
    }
    let (mut dealt, mut share_so_far) = (0, 0.0);
    for (code, share) in (1..).zip(&faults.devices) {
        share_so_far += share.share;
        let until = ((f64::from(count) * share_so_far).round() as usize).min(order.len());
        for agent in &order[dealt..until.max(dealt)] {
            roles[*agent as usize].fault = code;
        }
        dealt = until.max(dealt);
    }
    roles
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_and_weights_are_exact_and_spread() {
        let plan: FaultPlan = "dead=10%,wrong-id=5%".parse().unwrap();
        let roles = cast(1000, &[3, 0, 1], &plan, &mut Rng::seeded(9));
        let of_model = |model| roles.iter().filter(|role| role.model == model).count();
        assert_eq!([of_model(0), of_model(1), of_model(2)], [750, 0, 250]);
        let of_fault = |fault| roles.iter().filter(|role| role.fault == fault).count();
        assert_eq!([of_fault(0), of_fault(1), of_fault(2)], [850, 100, 50]);
        let first_half = roles[..500].iter().filter(|role| role.fault == 1).count();
        assert!(
            (30..70).contains(&first_half),
            "{first_half} of 100 in one half"
        );
        let other = cast(1000, &[1], &plan, &mut Rng::seeded(10));
        assert!((0..1000).any(|i| roles[i].fault != other[i].fault));
    }

    #[test]
    fn shares_that_do_not_divide_still_cover_all() {
        let plan: FaultPlan = "dead=33.3%,garbage=33.3%,late=33.4%".parse().unwrap();
        let roles = cast(7, &[1], &plan, &mut Rng::seeded(1));
        assert!(roles.iter().all(|role| role.fault > 0), "{roles:?}");
    }
}
