package inference

// enter takes a use of the model, so that it is not closed, and says whether that was in time. Each has a leave.
func (m *Model) enter() bool {
	for {
		n := m.uses.Load()
		if n < 0 {
			return false
		}
		if m.uses.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

func (m *Model) leave() { m.uses.Add(-1) }

// shut ends the taking of uses, if there are none now, and says whether it did.
func (m *Model) shut() bool { return m.uses.CompareAndSwap(0, -1) }

// Release gives back a Hop that [Set.Pick] or [Set.Find] gave; its model may be closed from then on.
func (h *Hop) Release() { h.Model.leave() }
