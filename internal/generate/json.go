package generate

import "strconv"

// AppendJSON appends the event as a JSON object: {"user_id":1,"movie_id":2,"rating":4.5,"event_time":1767225600000000}.
// A malformed event gives, in turn, broken JSON, text for a number, a missing field, or a time a year ahead.
func (e Event) AppendJSON(dst []byte) []byte {
	if e.Malformed {
		return e.appendMalformed(dst)
	}
	return AppendRating(dst, e.UserID, e.ItemID, e.Rating, e.Time)
}

// AppendRating appends the JSON record of a rating; at is its event time in microseconds. It allocates only to grow dst.
func AppendRating(dst []byte, userID, movieID int64, rating float64, at int64) []byte {
	dst = strconv.AppendInt(append(dst, `{"user_id":`...), userID, 10)
	dst = strconv.AppendInt(append(dst, `,"movie_id":`...), movieID, 10)
	dst = strconv.AppendFloat(append(dst, `,"rating":`...), rating, 'g', -1, 64)
	dst = strconv.AppendInt(append(dst, `,"event_time":`...), at, 10)
	return append(dst, '}')
}

const yearMicros = 365 * 86400 * 1_000_000

func (e Event) appendMalformed(dst []byte) []byte {
	start := len(dst)
	switch e.Time % 4 {
	case 0:
		dst = AppendRating(dst, e.UserID, e.ItemID, e.Rating, e.Time)
		return dst[:start+(len(dst)-start)/2]
	case 1:
		dst = strconv.AppendInt(append(dst, `{"user_id":`...), e.UserID, 10)
		dst = strconv.AppendInt(append(dst, `,"movie_id":"many","rating":3,"event_time":`...), e.Time, 10)
		return append(dst, '}')
	case 2:
		dst = strconv.AppendInt(append(dst, `{"user_id":`...), e.UserID, 10)
		return append(dst, `,"rating":3}`...)
	default:
		return AppendRating(dst, e.UserID, e.ItemID, e.Rating, e.Time+yearMicros)
	}
}
