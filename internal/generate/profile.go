package generate

import (
	"fmt"

	"github.com/onehop/onehop/featurestore"
)

// Profile is a view of fifty latest numbers and one event of its source, to measure rows:
// counts, stars in halves, prices in cents, ids and shares, as profiles have them, and half
// of the shares with all digits of a float.
func Profile() (*featurestore.Source, []featurestore.Feature, featurestore.Event) {
	source := &featurestore.Source{}
	event := featurestore.Event{Position: featurestore.Position{Time: 1_700_000_000_000_000, Partition: 3, Offset: 1_000_000}}
	var features []featurestore.Feature
	for i := range 50 {
		name, value := fmt.Sprintf("f%d", i), featurestore.IntValue(int64(i*i))
		switch i % 5 {
		case 1:
			value = featurestore.FloatValue(float64(i%10) / 2)
		case 2:
			value = featurestore.FloatValue(float64(1999+i*37) / 100)
		case 3:
			value = featurestore.IntValue(int64(1_000_000 + i))
		case 4:
			value = featurestore.FloatValue(float64(i) / 100)
			if i%2 == 0 {
				value = featurestore.FloatValue(1 / float64(i+3))
			}
		}
		source.Fields = append(source.Fields, featurestore.Field{Name: name, Type: value.Type})
		features = append(features, featurestore.Feature{Name: name, Type: value.Type, Aggregate: "latest", Field: name})
		event.Values = append(event.Values, value)
	}
	return source, features, event
}
