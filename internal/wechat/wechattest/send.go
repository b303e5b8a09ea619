package wechattest

import (
	"errors"
	"net/http"
	"strconv"
)

// contentType is the Content-Type of an answer. WeChat may send JSON as text/plain (npm
// wx-server-sdk@4.0.2, index.js:2456). The simulator therefore sends data as text/plain and
// errors as JSON, so a client must ignore the header.
type contentType uint8

const (
	formText contentType = iota
	formJSON
	formHTML
)

func (c contentType) String() string {
	return [...]string{"text/plain", "application/json; charset=UTF-8", "text/html; charset=UTF-8"}[c]
}

// HTML pages that replace an answer.
const (
	pageError = "<html>\r\n<head><title>500 Internal Server Error</title></head>\r\n<body>\r\n" +
		"<center><h1>500 Internal Server Error</h1></center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"
	pageGateway = "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n" +
		"<center><h1>502 Bad Gateway</h1></center>\r\n</body>\r\n</html>\r\n"
	pageBusy = `<!DOCTYPE html><html><head><meta charset="UTF-8"><title>系统繁忙</title></head>` +
		`<body><p>系统繁忙，请稍后再试。</p></body></html>`
)

// sendAnswer sends the answer of x, or the part of it that a fault leaves, and updates the ledger.
func (s *Simulator) sendAnswer(w http.ResponseWriter, x *exchange) {
	switch x.fault {
	case faultReset:
		cut(w, true)
		return
	case faultLost:
		s.recordAnswers(x, 0, 1)
		cut(w, false)
		return
	case faultTruncated:
		s.recordAnswers(x, 0, 1)
		_ = write(w, x.status, x.form, x.answer[:len(x.answer)/2])
		return
	}
	// The ledger is updated before the answer is sent, so that a client which has read the
	// answer finds it in the ledger. If sending fails, the update is reverted.
	s.recordAnswers(x, 1, 0)
	if err := write(w, x.status, x.form, x.answer); err != nil {
		s.recordAnswers(x, -1, 1)
		s.stats.gone.Add(1)
	}
}

// recordAnswers adds to the ledger how many answers with data of x's items were written completely
// or lost.
func (s *Simulator) recordAnswers(x *exchange, answered, lost int32) {
	if len(x.served) == 0 {
		return
	}
	s.stats.answered.Add(int64(answered) * int64(len(x.served)))
	x.app.answered.Add(int64(answered) * int64(len(x.served)))
	if s.ledger == nil {
		return
	}
	for _, id := range x.served {
		s.ledger.addAnswers(id, answered, lost)
	}
}

// write sends a whole answer and returns after the connection has accepted it.
func write(w http.ResponseWriter, status int, form contentType, answer []byte) error {
	h := w.Header()
	h["Content-Type"] = []string{form.String()}
	h["Content-Length"] = []string{strconv.Itoa(len(answer))}
	w.WriteHeader(status)
	if _, err := w.Write(answer); err != nil {
		return err
	}
	err := http.NewResponseController(w).Flush()
	if err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	return nil
}

// cut closes the connection without an answer: with a reset, or like a peer that closes
// normally. If the connection cannot be hijacked, as in HTTP/2, the server aborts the stream.
func cut(w http.ResponseWriter, reset bool) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler) // the documented way to abort a request without an answer
	}
	if tcp, ok := conn.(interface{ SetLinger(sec int) error }); ok && reset {
		_ = tcp.SetLinger(0)
	}
	_ = conn.Close()
}
