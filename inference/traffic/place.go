package traffic

import "github.com/cespare/xxhash/v2"

// Place is where an entity key stands among the requests of a model: from 0 to below 100, the same for ever, and
// independent of its place in another model's.
func Place(model string, key []byte) float64 {
	var d xxhash.Digest
	d.Reset()
	_, _ = d.WriteString(model) // never fails, by its documentation
	_, _ = d.Write([]byte{0})
	_, _ = d.Write(key)
	return float64(d.Sum64()>>11) / (1 << 53) * 100 // 53 bits are what a float64 holds
}

// At is the index of the variant at a place.
func (ab *AB) At(place float64) int {
	for i := range ab.Variants {
		if place -= ab.Variants[i].Percent; place < 0 {
			return i
		}
	}
	return len(ab.Variants) - 1 // 100 percent, but for rounding
}
