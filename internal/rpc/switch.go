package rpc

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/inference/switches"
	"github.com/onehop/onehop/inference/traffic"
	onehopv1 "github.com/onehop/onehop/schemas/onehop/v1"
)

// Switches store what is switched by hand, and take it.
type Switches struct {
	Store    *switches.Store
	Follower *switches.Follower
}

var actions = map[onehopv1.SwitchAction]string{
	onehopv1.SwitchAction_SWITCH_ACTION_SET:       switches.Set,
	onehopv1.SwitchAction_SWITCH_ACTION_ROLLBACK:  switches.Rollback,
	onehopv1.SwitchAction_SWITCH_ACTION_FROM_FILE: switches.FromFile,
}

// SwitchModel stores a switch and answers when this instance has taken it. What this instance could not follow is
// refused, and not stored.
func (s *Inference) SwitchModel(ctx context.Context, req *onehopv1.SwitchModelRequest) (*onehopv1.SwitchModelResponse, error) {
	change := switches.Change{
		Model: req.GetModel(), Action: actions[req.GetAction()], Traffic: trafficFrom(req.GetTraffic()), To: req.GetSwitchId(),
		Who: req.GetWho(), Reason: req.GetReason(),
	}
	if err := s.checkSwitch(ctx, &change); err != nil {
		return nil, err
	}
	made, err := s.Switches.Store.Switch(ctx, change)
	if errors.Is(err, switches.ErrNothing) {
		return nil, featurestore.Errorf(featurestore.Invalid, "%v", err)
	}
	if err != nil {
		return nil, featurestore.Errorf(featurestore.Unavailable, "the switch cannot be stored").Because(err)
	}
	if err := s.Switches.Follower.Look(ctx); err != nil {
		return nil, featurestore.Errorf(featurestore.Unavailable, "switch %d is stored, and not taken here yet", made.ID).Because(err)
	}
	res := &onehopv1.SwitchModelResponse{SwitchId: made.ID, BackTo: made.BackTo}
	for _, r := range s.Models.Routes() {
		if r.Model == change.Model {
			res.Route = routeOf(r)
		}
	}
	return res, nil
}

func (s *Inference) checkSwitch(ctx context.Context, c *switches.Change) error {
	if c.Action != switches.Set && !c.Traffic.Empty() {
		return featurestore.Errorf(featurestore.Invalid, "traffic: it is for SWITCH_ACTION_SET; a rollback and from-file take it from elsewhere")
	}
	if c.Action == switches.Rollback && c.To > 0 {
		return s.checkBack(ctx, c)
	}
	if c.Action != switches.Set {
		return s.Models.Check(c.Model, traffic.Traffic{})
	}
	if c.Traffic.Empty() {
		return featurestore.Errorf(featurestore.Invalid, "traffic: say what to switch: default_version, aliases, split or shadow")
	}
	if err := c.Traffic.Check(); err != nil {
		return featurestore.Errorf(featurestore.Invalid, "traffic: %v", err)
	}
	return s.Models.Check(c.Model, c.Traffic)
}

// checkBack looks at the state that a rollback names: other ones were in force, but that one may have been refused.
func (s *Inference) checkBack(ctx context.Context, c *switches.Change) error {
	back, err := s.Switches.Store.Get(ctx, c.To)
	if errors.Is(err, pgx.ErrNoRows) || err == nil && back.Model != c.Model {
		return s.Models.Check(c.Model, traffic.Traffic{}) // storing it says that there is no such state
	}
	if err != nil {
		return featurestore.Errorf(featurestore.Unavailable, "the switches cannot be read").Because(err)
	}
	return s.Models.CheckState(c.Model, back.Traffic)
}

func trafficFrom(m *onehopv1.Traffic) traffic.Traffic {
	t := traffic.Traffic{Default: m.GetDefaultVersion(), Aliases: m.GetAliases(), Shadow: shareFrom(m.GetShadow())}
	if m.GetSplit() == nil {
		return t
	}
	t.Split = &traffic.Split{Canary: shareFrom(m.GetSplit().GetCanary())}
	if ab := m.GetSplit().GetAb(); ab != nil {
		t.Split.AB = &traffic.AB{By: ab.GetBy()}
		for _, v := range ab.GetVariants() {
			t.Split.AB.Variants = append(t.Split.AB.Variants, traffic.Variant{Name: v.GetName(), Version: v.GetVersion(), Percent: v.GetPercent()})
		}
	}
	return t
}

func shareFrom(m *onehopv1.Share) *traffic.Share {
	if m == nil {
		return nil
	}
	return &traffic.Share{Version: m.GetVersion(), Percent: m.GetPercent()}
}
