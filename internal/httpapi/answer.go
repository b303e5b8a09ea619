package httpapi

import "net/http"

// statusWriter remembers the status of an answer.
type statusWriter struct {
	http.ResponseWriter
	status int
}

// WriteHeader implements [http.ResponseWriter].
func (w *statusWriter) WriteHeader(status int) {
	if w.status == 0 && status >= http.StatusOK { // those below are not the answer yet
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write implements [http.ResponseWriter].
func (w *statusWriter) Write(text []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return w.ResponseWriter.Write(text)
}

// Flush implements [http.Flusher], for what asks for that instead of an [http.ResponseController].
func (w *statusWriter) Flush() {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	_ = http.NewResponseController(w.ResponseWriter).Flush() // what cannot be flushed arrives later
}

// Unwrap is how an [http.ResponseController] reaches the connection.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// begun reports whether something of the answer was sent.
func (w *statusWriter) begun() bool { return w.status != 0 }

// sent is the status of the answer; 200 for one that nobody has said anything about.
func (w *statusWriter) sent() int {
	if w.status == 0 {
		return http.StatusOK
	}
	return w.status
}
