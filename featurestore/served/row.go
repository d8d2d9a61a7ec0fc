package served

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/onehop/onehop/featurestore"
)

// text is "view@generation", and then for each topic its id and, for each partition,
// partition:next, all with blanks between them.
func (r *Row) text() string {
	b := fmt.Appendf(nil, "%s@%d", r.View, r.Generation)
	var topic featurestore.TopicID
	for i, m := range r.Marks {
		if i == 0 || m.Topic != topic {
			topic = m.Topic
			b = append(append(b, ' '), topic.String()...)
		}
		b = append(strconv.AppendInt(append(b, ' '), int64(m.Partition), 10), ':')
		b = strconv.AppendInt(b, m.Next, 10)
	}
	return string(b)
}

func parseRow(text string) (Row, error) {
	bad := func() (Row, error) { return Row{}, fmt.Errorf("%q is no row of the serving log", text) }
	words := strings.Split(text, " ")
	view, number, _ := strings.Cut(words[0], "@")
	generation, err := strconv.Atoi(number)
	if err != nil {
		return bad()
	}
	row := Row{View: view, Generation: generation}
	var topic []byte
	for _, word := range words[1:] {
		partition, next, isMark := strings.Cut(word, ":")
		if !isMark {
			if topic, err = hex.DecodeString(word); err != nil || len(topic) != len(featurestore.TopicID{}) {
				return bad()
			}
			continue
		}
		p, err := strconv.ParseInt(partition, 10, 32)
		n, wrong := strconv.ParseInt(next, 10, 64)
		if err != nil || wrong != nil || topic == nil {
			return bad()
		}
		row.Marks = append(row.Marks, Mark{Topic: featurestore.TopicID(topic), Partition: int32(p), Next: n})
	}
	return row, nil
}

// SortMarks brings marks into the order in which they are written.
func SortMarks(marks []Mark) {
	slices.SortFunc(marks, func(a, b Mark) int {
		if c := slices.Compare(a.Topic[:], b.Topic[:]); c != 0 {
			return c
		}
		return int(a.Partition) - int(b.Partition)
	})
}
