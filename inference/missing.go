package inference

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/inference/traffic"
)

// listedVersions bounds how many versions an error names, the newest.
const listedVersions = 16

// noDefault says why requests that name no version are not answered: which version they should get, which there are, and what to do.
func (r *Route) noDefault() error {
	why, remedy := "no version can be served", "put one there that can be, under a new number"
	wanted := r.Traffic.Default
	switch {
	case r.DefaultUnknown:
		why = fmt.Sprintf("its serving.yaml, which may name the default version, cannot be read (onehop models show %s says why)", r.Model)
		remedy = fmt.Sprintf("name a version in the request, mend serving.yaml, or say the default by onehop models switch %s --default VERSION", r.Model)
	case wanted != "" && wanted != traffic.Newest:
		why = r.whyNot(wanted)
		remedy = fmt.Sprintf("name a version in the request, or change the default: in serving.yaml or by onehop models switch %s --default VERSION", r.Model)
	}
	if r.behind && !r.DefaultUnknown {
		why += fmt.Sprintf(", and what is wanted instead cannot be followed (onehop models show %s says why)", r.Model)
	}
	return featurestore.Errorf(featurestore.Unavailable, "model %q: %s; %s: %s", r.Model, why, r.there(), remedy).Because(r.Problem)
}

// whyNot says why the default version, by number or alias, does not answer. What is wrong with it are words of a runtime, with paths in
// them: they are for operators, not for callers.
func (r *Route) whyNot(wanted string) string {
	n, err := r.Traffic.Number(wanted)
	if err != nil {
		return fmt.Sprintf("its default version is the alias %s, which is not there", wanted)
	}
	named := "its default is version " + wanted
	if _, isAlias := r.Traffic.Aliases[wanted]; isAlias {
		named = fmt.Sprintf("its default is the alias %s of version %d", wanted, n)
	}
	for i := range r.versions {
		if v := &r.versions[i]; int64(v.Number) == n {
			return fmt.Sprintf("%s, which cannot be served (onehop models show %s says why)", named, r.Model)
		}
	}
	return named + ", which is not there"
}

// there lists the versions that can be served and those that cannot.
func (r *Route) there() string {
	var served, bad []string
	for _, v := range r.versions[max(0, len(r.versions)-listedVersions):] {
		switch {
		case v.Number == 0: // a model without versions
		case v.Hop != nil:
			served = append(served, strconv.Itoa(v.Number))
		default:
			bad = append(bad, strconv.Itoa(v.Number))
		}
	}
	return fmt.Sprintf("there are these versions: %s, and these that cannot be served: %s", cmp.Or(strings.Join(served, ", "), "none"), cmp.Or(strings.Join(bad, ", "), "none"))
}
