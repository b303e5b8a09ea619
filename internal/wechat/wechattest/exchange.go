package wechattest

import (
	"errors"
	"net/http"
	"time"
)

// exchange is the state of one request to getopendata. Its memory is reused.
type exchange struct {
	now    time.Time
	caller caller
	app    *appCounters // of the caller; nil until the caller is known
	body   []byte
	items  []item

	ids    []string // the cloudIDs of the request
	data   []byte   // data of the item that is being composed
	served []uint64 // hashes of the items whose data is in answer

	answer []byte
	status int
	form   contentType
	dice   *dice
	fault  fault // fault of the request, or noFault
	slow   bool
}

// item is one cloudID of an exchange.
type item struct {
	id       string
	hash     uint64
	seen     uint64 // how many times the cloudID was seen before
	decision decision
	late     bool // genuine, but arrived after its lifetime
}

// reset prepares x for the next request and drops the strings of the last one.
func (x *exchange) reset() {
	clear(x.ids)
	clear(x.items)
	*x = exchange{
		body: x.body[:0], items: x.items[:0], ids: x.ids[:0], data: x.data[:0], served: x.served[:0],
		answer: x.answer[:0], status: http.StatusOK, fault: noFault,
	}
}

// getOpenData answers POST /wxa/getopendata.
func (s *Simulator) getOpenData(w http.ResponseWriter, r *http.Request) {
	s.stats.enter()
	x := s.exchanges.Get().(*exchange)
	defer s.exchanges.Put(x)
	x.reset()
	x.now = s.cfg.Now()

	s.process(x, r)
	latency := s.cfg.Latency
	if x.slow {
		latency *= 10
	}
	stayed := wait(r.Context(), latency)
	s.markSidecar(w.Header())
	s.stats.leave() // before the answer, so that a client which respects a limit is never counted above it
	if !stayed {
		s.stats.gone.Add(1)
		s.recordAnswers(x, 0, 1)
		return
	}
	s.sendAnswer(w, x)
}

// process parses r, records its arrival in the ledger and composes the answer.
func (s *Simulator) process(x *exchange, r *http.Request) {
	if code := s.admit(x, r); code != 0 {
		s.stats.refused.Add(1)
		s.refuse(x, code)
		return
	}
	s.arrive(x)

	// At most one fault strikes the request, in addition to slow. It depends on the first cloudID.
	first := x.items[0]
	if x.dice.strikes(faultSlow, first.hash, first.seen) {
		x.slow = true
		s.stats.struck(faultSlow)
	}
	x.fault = x.dice.first(faultReset, faultLost, first.hash, first.seen)
	if x.fault != noFault {
		s.stats.struck(x.fault)
	}
	switch x.fault {
	case faultReset:
	case faultHTTP500:
		x.answer, x.status, x.form = append(x.answer, pageError...), http.StatusInternalServerError, formHTML
	case faultHTML:
		x.answer, x.form = append(x.answer, pageBusy...), formHTML
	case faultBusy:
		s.refuse(x, codeBusy)
	case faultToken:
		s.refuse(x, codeInvalidToken)
	case faultQuota:
		s.refuse(x, codeDailyQuota)
	case faultRate:
		s.refuse(x, codeMinuteQuota)
	case faultGateway:
		x.answer, x.status, x.form = append(x.answer, pageGateway...), http.StatusBadGateway, formHTML
	case faultUnauthorized:
		s.refuse(x, codeUnauthorized)
	case faultNotPermitted:
		s.refuse(x, codeNotPermitted)
	case faultNotListed:
		s.refuse(x, codeNotListed)
	case faultNotReady:
		s.refuse(x, codeNotReady)
	default:
		s.compose(x)
	}
}

// admit checks method, credential, body and openid, and sets caller and ids. It returns the
// errcode of an invalid request, or 0.
func (s *Simulator) admit(x *exchange, r *http.Request) int {
	if r.Method != http.MethodPost {
		return codeNeedPost
	}
	holder, code := s.credential(r.URL.RawQuery, x.now)
	if code != 0 {
		return code
	}
	x.dice, x.app = s.diceFor(holder.appID, x.now), s.apps.of(holder.appID)
	x.app.requests.Add(1)
	x.app.last.Store(x.now.UnixNano())
	if s.overQuota(x.app) {
		return codeDailyQuota
	}
	var err error
	x.body, err = readBody(x.body, r)
	switch {
	case errors.Is(err, errBodyTooLarge):
		x.status = http.StatusRequestEntityTooLarge
		return codeDataFormat
	case err != nil:
		return codeDataFormat // the client disconnected and will not read this
	case len(x.body) == 0:
		return codeEmptyPost
	}
	var ok bool
	if x.ids, ok = parseList(string(x.body), x.ids); !ok {
		return codeDataFormat
	}
	openID := queryValue(r.URL.RawQuery, "openid")
	x.caller = caller{appID: holder.appID, app: holder.app, anyone: openID == ""}
	if openID != "" {
		if x.caller.user, ok = s.codec.readOpenID(holder.app, openID); !ok {
			return codeInvalidOpenID
		}
	}
	return 0
}

// arrive converts ids to items, records them in the ledger and counts violations.
func (s *Simulator) arrive(x *exchange) {
	count := uint64(s.stats.requests.Load())
	mixed := false
	for _, id := range x.ids {
		it := item{id: id, hash: hashString(id), seen: count}
		if s.ledger != nil {
			before := s.ledger.arrive(it.hash, x.now)
			it.seen = uint64(before.sent)
			if before.answered > 0 {
				s.stats.afterResolved.Add(1)
			}
		}
		it.decision = s.decide(x.caller, id, it.hash)
		if d := &it.decision; d.genuine {
			it.late = x.now.Sub(time.UnixMilli(d.facts.issuedMs)) > s.cfg.Lifetime
			mixed = mixed || !d.theirs
		}
		if it.late {
			s.stats.afterDeadline.Add(1)
		}
		x.items = append(x.items, it)
	}
	if mixed {
		s.stats.mixedOpenIDs.Add(1)
	}
	s.stats.cloudIDs.Add(int64(len(x.items)))
	x.app.cloudIDs.Add(int64(len(x.items)))
	raise(&s.stats.maxBatch, int64(len(x.items)))
}

// refuse answers the whole request with an errcode.
func (s *Simulator) refuse(x *exchange, code int) {
	x.answer, x.form = s.appendError(x.answer, code, x.now), formJSON
}

// compose writes the answer to a request that no fault has stopped.
func (s *Simulator) compose(x *exchange) {
	if s.cfg.MaxBatch > 0 && len(x.items) > s.cfg.MaxBatch {
		s.stats.refused.Add(1)
		s.refuse(x, codeInvalidArgs)
		return
	}
	for i := range x.items {
		if x.items[i].decision.fault == faultPoison {
			s.stats.struck(faultPoison)
			s.refuse(x, codeInvalidArgs)
			return
		}
	}
	x.form = formText
	x.answer = append(x.answer, answerHead...)
	// WeChat does not promise the order of the request, so the answer starts at any item.
	start := int(x.items[0].hash>>32) % len(x.items)
	for i := range x.items {
		before := len(x.answer)
		if i > 0 && before > len(answerHead) {
			x.answer = append(x.answer, ',')
		}
		if !s.composeItem(x, &x.items[(start+i)%len(x.items)]) {
			x.answer = x.answer[:before]
		}
	}
	x.answer = append(x.answer, answerTail...)
}

// composeItem appends the entry of one item. It returns false if the item has no entry.
func (s *Simulator) composeItem(x *exchange, it *item) bool {
	// Transient faults of the item precede the permanent ones of the cloudID.
	f := x.dice.first(faultMissing, faultItemBusy, it.hash, it.seen)
	if f == noFault {
		f = it.decision.fault
	}
	if f != noFault {
		s.stats.struck(f)
	}
	code := it.decision.code
	if code == 0 && it.late {
		code = itemExpired
	}
	switch {
	case f == faultMissing:
		return false
	case f == faultEmpty:
		x.answer = appendEmptyEntry(x.answer, it.id)
	case f == faultItemBusy:
		x.answer = appendErrorEntry(x.answer, it.id, itemBusy)
	case code != 0:
		x.answer = appendErrorEntry(x.answer, it.id, code)
	default:
		watermark := x.caller.appID
		if f == faultWatermark {
			watermark = foreignWatermark
		} else {
			x.served = append(x.served, it.hash)
		}
		x.data = appendData(x.data[:0], it.decision.facts, s.cfg.Seed, watermark)
		x.answer = appendDataEntry(x.answer, it.id, x.data)
	}
	return true
}
