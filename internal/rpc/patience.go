package rpc

import (
	"net/http"
	"time"

	"github.com/onehop/onehop/schemas/onehop/v1/onehopv1connect"
)

// streamPatience is how long a caller may take to send what it asks of history, of up to 66 MB, and to take each part of the answer.
const streamPatience = time.Minute

// Patient lets answers from history take their time, and streams last for as long as their
// callers take what they send: the time that a server allows for a whole request or answer is that
// of short ones.
func Patient(handler http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case onehopv1connect.FeatureServiceGetTrainingSetProcedure, onehopv1connect.FeatureServiceGetFeatureStatisticsProcedure:
			p := patientWriter{ResponseWriter: w, control: http.NewResponseController(w)}
			if p.control.SetWriteDeadline(time.Time{}) == nil {
				w = p
			}
			if r.ContentLength != 0 { // else there is nothing to read, and the deadline would be the answer's
				_ = p.control.SetReadDeadline(time.Now().Add(streamPatience))
			}
		}
		handler.ServeHTTP(w, r)
	})
}

// patientWriter gives each write a deadline of its own, and none to the time between.
type patientWriter struct {
	http.ResponseWriter
	control *http.ResponseController
}

// Write implements io.Writer.
func (p patientWriter) Write(b []byte) (int, error) {
	_ = p.control.SetWriteDeadline(time.Now().Add(streamPatience))
	n, err := p.ResponseWriter.Write(b)
	_ = p.control.SetWriteDeadline(time.Time{})
	return n, err
}

// Flush implements http.Flusher.
func (p patientWriter) Flush() {
	_ = p.control.SetWriteDeadline(time.Now().Add(streamPatience))
	_ = p.control.Flush()
	_ = p.control.SetWriteDeadline(time.Time{})
}

// Unwrap lets a ResponseController find the writer.
func (p patientWriter) Unwrap() http.ResponseWriter { return p.ResponseWriter }
