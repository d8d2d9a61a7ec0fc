package chaos

import (
	"context"
	"maps"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/onehop/onehop/featurestore"
)

// membership is the members of the consumer groups: two that keep their names, and others
// that come and go.
type membership struct {
	*Stand
	named, nameless []*Process
	watches         map[string]*watch // by group
}

// looks are the ways to see how far each partition is, by group. Online it is the view that
// is folded last: the bucket that is furthest, for batches are committed whole.
func (s *Stand) looks(topic featurestore.TopicID) map[string]func(context.Context) (map[int32]int64, error) {
	return map[string]func(context.Context) (map[int32]int64, error){
		"online": func(ctx context.Context) (map[int32]int64, error) {
			views, err := s.checker.views()
			if err != nil {
				return nil, err
			}
			marks, err := s.checker.watermarks(ctx, views[len(views)-1])
			next := map[int32]int64{}
			for _, bucket := range marks {
				for id, n := range bucket {
					next[id.partition] = max(next[id.partition], n)
				}
			}
			return next, err
		},
		"history": func(ctx context.Context) (map[int32]int64, error) { return s.checker.historyOffsets(ctx, topic) },
	}
}

// join starts a member.
func (m *membership) join(ctx context.Context, instance string) error {
	p, err := m.IngestReady(ctx, instance)
	if err != nil {
		return err
	}
	if p.instance = instance; instance != "" {
		m.named = append(m.named, p)
	} else {
		m.nameless = append(m.nameless, p)
	}
	return nil
}

// leave ends a member as an orchestrator does.
func (m *membership) leave(ctx context.Context, p *Process) error {
	p.Leave()
	err := p.Left(ctx)
	m.retire(p)
	return err
}

// restart ends a member with a name and starts it again.
func (m *membership) restart(ctx context.Context) error {
	p := m.named[0]
	m.named = m.named[1:]
	if err := m.leave(ctx, p); err != nil {
		return err
	}
	return m.join(ctx, p.instance)
}

// scaleIn ends the members without a name, at once.
func (m *membership) scaleIn(ctx context.Context) error {
	var group errgroup.Group
	for _, p := range m.nameless {
		p.Leave()
		group.Go(func() error { return p.Left(ctx) })
	}
	for _, p := range m.nameless {
		m.retire(p)
	}
	m.nameless = nil
	return group.Wait()
}

// scaleOut starts as many again, at once.
func (m *membership) scaleOut(ctx context.Context) error {
	for range 2 {
		p, err := m.Ingest(ctx, "")
		if err != nil {
			return err
		}
		m.nameless = append(m.nameless, p)
	}
	for _, p := range m.nameless {
		if err := p.Ready(ctx); err != nil {
			return err
		}
	}
	return nil
}

// planned does a change and notes how long events of each partition waited meanwhile: of
// those that changed their owner, or whose owner was started again, and of the others, which must go on.
func (m *membership) planned(ctx context.Context, name string, do func(context.Context) error) error {
	before, err := m.owners(ctx)
	if err != nil {
		return err
	}
	lives := m.lives()
	calm, err := m.calm(ctx)
	if err != nil {
		return err
	}
	if err := do(ctx); err != nil {
		return err
	}
	if err := m.settled(ctx); err != nil {
		return err
	}
	after, err := m.owners(ctx)
	if err != nil {
		return err
	}
	for group, w := range m.watches {
		var moved, stayed time.Duration
		movedCount := 0
		for partition, wait := range w.take() {
			was, is := before[group][partition], after[group][partition]
			if was != is || lives[is] != m.lives()[is] {
				moved, movedCount = max(moved, wait), movedCount+1
			} else {
				stayed = max(stayed, wait)
			}
		}
		m.noteWorst(name+"_"+group+"_moved_ms", float64(moved.Milliseconds()))
		m.noteWorst(name+"_"+group+"_stayed_ms", float64(stayed.Milliseconds()))
		m.Say("%s, %s: %d of %d partitions moved, events waited %s; of the others %s", name, group, movedCount, m.fault.Partitions,
			moved.Round(time.Millisecond), stayed.Round(time.Millisecond))
		if stayed > maxStand+calm[group] {
			m.slow = errorf("%s: events of a partition that stayed with its owner waited %s in group %s, and %s while nothing changed", name, stayed, group, calm[group])
		}
	}
	return nil
}

// calmFor is how long nothing is changed, to see what a busy machine does to waits.
const calmFor = 2 * time.Second

// calm is the longest that events wait while nothing changes, by group.
func (m *membership) calm(ctx context.Context) (map[string]time.Duration, error) {
	for _, w := range m.watches {
		w.take()
	}
	if err := pause(ctx, calmFor); err != nil {
		return nil, err
	}
	longest := map[string]time.Duration{}
	for group, w := range m.watches {
		for _, wait := range w.take() {
			longest[group] = max(longest[group], wait)
		}
	}
	return longest, nil
}

// lives tells the processes that keep their names from their former lives.
func (m *membership) lives() map[string]int {
	lives := map[string]int{}
	for _, p := range m.named {
		lives[p.instance] = p.cmd.Process.Pid
	}
	return lives
}

// settledFor is how long nothing may move or wait until a group has settled; less than half
// of it is a short wait. A member that is back but does not read yet shows within that time.
const settledFor = 800 * time.Millisecond

// settled waits until the groups have all members, each its share of the partitions, and no
// event waits for long.
func (m *membership) settled(ctx context.Context) error {
	var since time.Time
	return eventually(ctx, 60*time.Second, "the groups have settled", func(ctx context.Context) error {
		err := m.balanced(ctx)
		switch {
		case err != nil:
			since = time.Time{}
		case since.IsZero():
			since = time.Now()
		}
		if err == nil && time.Since(since) < settledFor {
			err = errorf("they have only just settled")
		}
		return err
	})
}

func (m *membership) balanced(ctx context.Context) error {
	owners, err := m.owners(ctx)
	if err != nil {
		return err
	}
	for group, of := range owners {
		shares := map[string]int{}
		for _, owner := range of {
			shares[owner]++
		}
		if len(of) != int(m.fault.Partitions) || len(shares) != len(m.named)+len(m.nameless) {
			return errorf("group %s: %d partitions have %d owners", group, len(of), len(shares))
		}
		if counts := slices.Collect(maps.Values(shares)); slices.Max(counts) > slices.Min(counts)+1 {
			return errorf("group %s: the shares are %v", group, counts)
		}
		if oldest := m.watches[group].oldest(time.Now()); oldest > settledFor/2 {
			return errorf("group %s: an event has waited for %s", group, oldest)
		}
	}
	return nil
}

// owners says for each group which member has each partition, by its name or its id.
func (m *membership) owners(ctx context.Context) (map[string]map[int32]string, error) {
	owners := map[string]map[int32]string{}
	for group := range m.watches {
		name := "onehop." + m.checker.Namespace + "." + group
		described, err := m.admin.DescribeGroups(ctx, name)
		if err == nil {
			err = described.Error()
		}
		if err != nil {
			return nil, errorf("asking for group %s: %w", name, err)
		}
		if state := described[name].State; state != "Stable" {
			return nil, errorf("group %s is %s", name, state)
		}
		owners[group] = map[int32]string{}
		for _, member := range described[name].Members {
			owner := member.MemberID
			if member.InstanceID != nil {
				owner = *member.InstanceID
			}
			assigned, ok := member.Assigned.AsConsumer()
			if !ok {
				continue
			}
			for _, topic := range assigned.Topics {
				for _, partition := range topic.Partitions {
					owners[group][partition] = owner
				}
			}
		}
	}
	return owners, nil
}
