package traffic

import (
	"encoding/json"
	"math"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestPlacesShareSticksAndIsIndependent: keys spread evenly, one key stands where it always stood, and where it
// stands in one model says nothing of another.
func TestPlacesShareSticksAndIsIndependent(t *testing.T) {
	ab := &AB{By: "user", Variants: []Variant{{"a", "1", 10}, {"b", "2", 60}, {"c", "3", 30}}}
	const keys = 100_000
	var counts [3]int
	both := 0 // in variant b of both models
	for i := range keys {
		key := []byte(strconv.Itoa(i))
		arm, other := ab.At(Place("ranker", key)), ab.At(Place("other", key))
		counts[arm]++
		if arm == 1 && other == 1 {
			both++
		}
	}
	for i, v := range ab.Variants {
		if got := 100 * float64(counts[i]) / keys; math.Abs(got-v.Percent) > 0.7 { // over four standard deviations
			t.Errorf("variant %s has %.2f percent, want %v", v.Name, got, v.Percent)
		}
	}
	if got := 100 * float64(both) / keys; math.Abs(got-36) > 0.7 {
		t.Errorf("%.2f percent are in variant b of both models, want 36, as of independent ones", got)
	}
	// A fixed place: a release that moved it would move the users of every test under way.
	if got := Place("ranker", []byte("1")); math.Abs(got-placeOfRankerOne) > 1e-9 {
		t.Errorf("the place of a key is %.12f, it was %.12f", got, placeOfRankerOne)
	}
}

const placeOfRankerOne = 15.664831987816

func TestOver(t *testing.T) {
	file := Traffic{Default: "3", Aliases: map[string]int64{"stable": 3, "next": 4}, Split: &Split{Canary: &Share{"4", 5}}, Shadow: &Share{"5", 10}}
	live := Traffic{Aliases: map[string]int64{"next": 5}, Split: &Split{}}
	want := Traffic{Default: "3", Aliases: map[string]int64{"stable": 3, "next": 5}, Split: &Split{}, Shadow: &Share{"5", 10}}
	if diff := cmp.Diff(want, live.Over(file)); diff != "" {
		t.Error(diff)
	}
	if file.Aliases["next"] != 4 {
		t.Error("the layer below was changed")
	}
	if diff := cmp.Diff(file, Traffic{}.Over(file)); diff != "" || !(Traffic{}).Empty() || file.Empty() {
		t.Error(diff)
	}
	if n, err := want.Number("next"); n != 5 || err != nil {
		t.Errorf("next is %d, %v", n, err)
	}
	if _, err := want.Number("nobody"); err == nil {
		t.Error("an alias that nobody gave is a version")
	}
	stored, err := json.Marshal(file)
	if err != nil {
		t.Fatal(err)
	}
	var read Traffic
	if err := json.Unmarshal(stored, &read); err != nil || !read.Equal(file) {
		t.Errorf("stored as %s, read as %+v, %v", stored, read, err)
	}
}

// TestUnder: of what lies below only what is not replaced is left, and the aliases of both.
func TestUnder(t *testing.T) {
	file := Traffic{Default: "3", Aliases: map[string]int64{"stable": 3, "next": 4}, Split: &Split{Canary: &Share{"4", 5}}, Shadow: &Share{"5", 10}}
	aliases := map[string]int64{"stable": 3, "next": 5}
	for _, c := range []struct{ over, want Traffic }{
		{Traffic{}, file},
		{Traffic{Default: "1", Aliases: map[string]int64{"next": 5}}, Traffic{Aliases: aliases, Split: file.Split, Shadow: file.Shadow}},
		{Traffic{Split: &Split{}}, Traffic{Default: "3", Aliases: file.Aliases, Shadow: file.Shadow}},
		{Traffic{Shadow: &Share{}}, Traffic{Default: "3", Aliases: file.Aliases, Split: file.Split}},
	} {
		if diff := cmp.Diff(c.want, file.Under(c.over)); diff != "" {
			t.Errorf("under %+v: %s", c.over, diff)
		}
	}
}

// TestNamed: each part names its versions; newest is none.
func TestNamed(t *testing.T) {
	ab := &AB{Variants: []Variant{{"a", "1", 50}, {"b", "next", 50}}}
	for want, state := range map[string]Traffic{
		"":       {Default: Newest, Split: &Split{}, Shadow: &Share{}},
		"3 4 5":  {Default: "3", Split: &Split{Canary: &Share{"4", 5}}, Shadow: &Share{"5", 10}},
		"1 next": {Split: &Split{AB: ab}},
	} {
		if got := strings.Join(state.Named(), " "); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// TestCheckTaken: only aliases that are there can be taken away, and the error says which are.
func TestCheckTaken(t *testing.T) {
	in := Traffic{Aliases: map[string]int64{"stable": 3, "next": 4, "old": 0}}
	for want, over := range map[string]map[string]int64{
		"": {"stable": 0, "fresh": 5},
		`there is no alias "nope", "old" to take away; there are: "next", "stable"`: {"nope": 0, "old": 0, "next": 0},
	} {
		err := CheckTaken(Traffic{Aliases: over}, in)
		if (err == nil) != (want == "") || err != nil && err.Error() != want {
			t.Errorf("%v: %v, want %q", over, err, want)
		}
	}
	if err := CheckTaken(Traffic{Aliases: map[string]int64{"old": 0}}, in, Traffic{Aliases: map[string]int64{"old": 5}}); err != nil {
		t.Errorf("an alias of the second: %v", err)
	}
	if err := CheckTaken(Traffic{Aliases: map[string]int64{"x": 0}}); err == nil || !strings.Contains(err.Error(), "there are: none") {
		t.Errorf("without aliases: %v", err)
	}
}

func TestCheck(t *testing.T) {
	ab := func(by string, variants ...Variant) Traffic {
		return Traffic{Split: &Split{AB: &AB{By: by, Variants: variants}}}
	}
	for want, traffic := range map[string]Traffic{
		"": {Default: Newest, Aliases: map[string]int64{"a": 0}, Split: &Split{}, Shadow: &Share{}},
		`default: "A" is no version: want a whole number from 1, an alias or newest`: {Default: "A"},
		"default: \"01\" is no":        {Default: "01"},
		"alias x: -1 is no":            {Aliases: map[string]int64{"x": -1}},
		`"canary" has a meaning`:       {Aliases: map[string]int64{"canary": 1}},
		"canary: newest is for":        {Split: &Split{Canary: &Share{Newest, 5}}},
		"shadow: 101 is no share":      {Shadow: &Share{"3", 101}},
		"NaN is no share":              {Shadow: &Share{"3", math.NaN()}},
		"not both":                     {Split: &Split{Canary: &Share{"1", 5}, AB: &AB{By: "u"}}},
		"want 2 to 16":                 ab("u", Variant{"a", "1", 100}),
		"99 percent together":          ab("u", Variant{"a", "1", 50}, Variant{"b", "2", 49}),
		`"a" is listed twice`:          ab("u", Variant{"a", "1", 50}, Variant{"a", "2", 50}),
		"say by which entity":          ab("", Variant{"a", "1", 50}, Variant{"b", "2", 50}),
		`variant b: "?" is no version`: ab("u", Variant{"a", "1", 50}, Variant{"b", "?", 50}),
	} {
		err := traffic.Check()
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", traffic, err, want)
		}
	}
}
