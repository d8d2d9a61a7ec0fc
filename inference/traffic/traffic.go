// Package traffic says which version of a model answers a request: the version served by default, aliases, a share of the
// requests for a candidate (canary or A/B), and a share that a version answers in the shadow. It is pure: it knows versions by
// number only, and neither files nor requests.
package traffic

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Newest is, as the default version, the newest one that can be served.
const Newest = "newest"

// The variants that answers name, besides those of an A/B test.
const (
	Default = "default" // the version that is served by default
	Canary  = "canary"  // the version that is tried on a share
	Pinned  = "pinned"  // the version that the request named
)

// Bounds of what can be said of one model.
const (
	MaxAliases  = 64
	MaxVariants = 16
)

// Traffic is what somebody wants of one model. Every part may be absent: then the layer below says it, see [Traffic.Over].
// Versions are numbers or aliases, as text.
type Traffic struct {
	// Default is the version for requests that name none, or [Newest], which is also meant when no layer says it.
	Default string `json:"default,omitempty"`
	// Aliases are names for versions; 0 takes the name away.
	Aliases map[string]int64 `json:"aliases,omitempty"`
	// Split sends a share of the requests that name no version elsewhere; one without canary and A/B test sends none.
	Split *Split `json:"traffic,omitempty"`
	// Shadow answers a share of the requests once more, unseen by callers; 0 percent is none.
	Shadow *Share `json:"shadow,omitempty"`
}

// Live is what was switched by hand: it is laid over a model's serving.yaml.
type Live struct {
	// Switch numbers it, from 1.
	Switch  int64   `json:"switch"`
	Traffic Traffic `json:"traffic"`
	// Before was in force before, where no instance has taken the switch: who starts and cannot follow it either goes by that, as those
	// do that have run on. It is nil where one has.
	Before *Traffic `json:"before,omitempty"`
}

// Outcome is what became of a switch in one instance.
type Outcome struct {
	Switch int64
	// Problem is why it was not taken; empty when it was.
	Problem string
}

// Split is a canary or an A/B test, or neither.
type Split struct {
	Canary *Share `json:"canary,omitempty"`
	AB     *AB    `json:"ab,omitempty"`
}

// Share is a version and its share of the requests, from 0 to 100.
type Share struct {
	Version string  `json:"version,omitempty"`
	Percent float64 `json:"percent"`
}

// AB is an A/B test. All requests of one entity key get the same variant.
type AB struct {
	// By is the entity; requests bring one key of it.
	By string `json:"by"`
	// Variants share all requests: together 100 percent.
	Variants []Variant `json:"variants"`
}

// Variant is one arm of an A/B test.
type Variant struct {
	Name    string  `json:"name"`
	Version string  `json:"version"`
	Percent float64 `json:"percent"`
}

// Over lays t over what is below it: a part that t has replaces that below, aliases one by one. The result shares memory with
// both.
func (t Traffic) Over(below Traffic) Traffic {
	out := below
	if t.Default != "" {
		out.Default = t.Default
	}
	if t.Split != nil {
		out.Split = t.Split
	}
	if t.Shadow != nil {
		out.Shadow = t.Shadow
	}
	if len(t.Aliases) > 0 {
		out.Aliases = maps.Clone(below.Aliases)
		if out.Aliases == nil {
			out.Aliases = map[string]int64{}
		}
		maps.Copy(out.Aliases, t.Aliases)
	}
	return out
}

// Under is what t still says when over is laid over it, with the aliases of both, by which it may name versions.
func (t Traffic) Under(over Traffic) Traffic {
	out := over.Over(t)
	if over.Default != "" {
		out.Default = ""
	}
	if over.Split != nil {
		out.Split = nil
	}
	if over.Shadow != nil {
		out.Shadow = nil
	}
	return out
}

// Named lists the versions that t names, by number or alias, but for [Newest].
func (t Traffic) Named() []string {
	var named []string
	add := func(version string) {
		if version != "" && version != Newest {
			named = append(named, version)
		}
	}
	add(t.Default)
	if t.Split != nil && t.Split.Canary != nil {
		add(t.Split.Canary.Version)
	}
	if t.Split != nil && t.Split.AB != nil {
		for _, v := range t.Split.AB.Variants {
			add(v.Version)
		}
	}
	if t.Shadow != nil {
		add(t.Shadow.Version)
	}
	return named
}

// Empty says that t has no part.
func (t Traffic) Empty() bool {
	return t.Default == "" && len(t.Aliases) == 0 && t.Split == nil && t.Shadow == nil
}

// CheckTaken says which aliases would be taken away by laying over, and are in none of the given, and which there are.
func CheckTaken(over Traffic, in ...Traffic) error {
	there := map[string]bool{}
	for _, t := range in {
		for alias, version := range t.Aliases {
			if version > 0 {
				there[strconv.Quote(alias)] = true
			}
		}
	}
	var gone []string
	for _, alias := range slices.Sorted(maps.Keys(over.Aliases)) {
		if quoted := strconv.Quote(alias); over.Aliases[alias] == 0 && !there[quoted] {
			gone = append(gone, quoted)
		}
	}
	if len(gone) == 0 {
		return nil
	}
	list := strings.Join(slices.Sorted(maps.Keys(there)), ", ")
	return fmt.Errorf("there is no alias %s to take away; there are: %s", strings.Join(gone, ", "), cmp.Or(list, "none"))
}

// Equal says that both want the same.
func (t Traffic) Equal(other Traffic) bool { return reflect.DeepEqual(t, other) }

// Number is the version that a text names by number or alias. It does not know [Newest].
func (t Traffic) Number(version string) (int64, error) {
	if n, err := strconv.ParseInt(version, 10, 64); err == nil {
		return n, nil
	}
	if n := t.Aliases[version]; n > 0 {
		return n, nil
	}
	return 0, fmt.Errorf("there is no alias %q", version)
}

var name = regexp.MustCompile(`^[a-z][a-z0-9_]{0,62}$`)

// CheckVersion says what is wrong with a version, by number or alias.
func CheckVersion(version string) error {
	if n, err := strconv.ParseInt(version, 10, 64); err == nil && n > 0 && strconv.FormatInt(n, 10) == version {
		return nil
	}
	if version == Newest {
		return errors.New("newest is for the default alone: name a version, so that nothing new gets requests by itself")
	}
	if !name.MatchString(version) {
		return fmt.Errorf("%q is no version: want a whole number from 1, or an alias", version)
	}
	return nil
}

// CheckDefault says what is wrong with a default version, by number or alias, or [Newest].
func CheckDefault(version string) error {
	if version != Newest && CheckVersion(version) != nil {
		return fmt.Errorf("%q is no version: want a whole number from 1, an alias or newest", version)
	}
	return nil
}

// CheckName says what is wrong with the name of an alias or a variant.
func CheckName(text string) error {
	switch {
	case !name.MatchString(text):
		return fmt.Errorf("%q is no name: want a lower-case letter, then up to 62 lower-case letters, digits and underscores", text)
	case text == Default || text == Canary || text == Pinned || text == Newest:
		return fmt.Errorf("%q has a meaning of its own: take another name", text)
	}
	return nil
}

// CheckPercent says what is wrong with a share.
func CheckPercent(percent float64) error {
	if !(percent >= 0 && percent <= 100) {
		return fmt.Errorf("%v is no share: want a percentage from 0 to 100", percent)
	}
	return nil
}

// Check says what is wrong within the variants, all of it, joined.
func (ab *AB) Check() error {
	var problems []error
	sum, seen := 0.0, map[string]bool{}
	for _, v := range ab.Variants {
		if seen[v.Name] {
			problems = append(problems, fmt.Errorf("variant %q is listed twice", v.Name))
		}
		seen[v.Name] = true
		sum += v.Percent
	}
	if len(ab.Variants) < 2 || len(ab.Variants) > MaxVariants {
		problems = append(problems, fmt.Errorf("%d variants: want 2 to %d", len(ab.Variants), MaxVariants))
	}
	if math.Abs(sum-100) > 1e-6 {
		problems = append(problems, fmt.Errorf("the variants have %v percent together: want 100", sum))
	}
	return errors.Join(problems...)
}

// Check says what is wrong with what somebody wants, whatever versions there are: all of it, joined.
func (t Traffic) Check() error {
	var problems []error
	add := func(where string, err error) {
		if err != nil {
			problems = append(problems, fmt.Errorf("%s: %w", where, err))
		}
	}
	if t.Default != "" {
		add("default", CheckDefault(t.Default))
	}
	if len(t.Aliases) > MaxAliases {
		add("aliases", fmt.Errorf("%d of them: at most %d are allowed", len(t.Aliases), MaxAliases))
	}
	for alias, version := range t.Aliases {
		add("aliases", CheckName(alias))
		if version < 0 {
			add("alias "+alias, fmt.Errorf("%d is no version", version))
		}
	}
	share := func(where string, s *Share) {
		if s == nil {
			return
		}
		add(where, CheckPercent(s.Percent))
		if s.Percent > 0 || s.Version != "" {
			add(where, CheckVersion(s.Version))
		}
	}
	share("shadow", t.Shadow)
	if t.Split == nil {
		return errors.Join(problems...)
	}
	share("canary", t.Split.Canary)
	if ab := t.Split.AB; ab != nil {
		if t.Split.Canary != nil {
			problems = append(problems, errors.New("want a canary or an A/B test, not both"))
		}
		add("ab", CheckEntity(ab.By))
		add("ab", ab.Check())
		for _, v := range ab.Variants {
			add("ab", CheckName(v.Name))
			add("variant "+v.Name, CheckVersion(v.Version))
			add("variant "+v.Name, CheckPercent(v.Percent))
		}
	}
	return errors.Join(problems...)
}

// CheckEntity says what is wrong with the name of an A/B test's entity.
func CheckEntity(text string) error {
	if text == "" {
		return errors.New("say by which entity requests are split")
	}
	return nil
}
