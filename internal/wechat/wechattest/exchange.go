package wechattest

import (
	"errors"
	"net/http"
	"time"
)

// exchange is one request to getopendata on its way through the simulator. Its memory is used again.
type exchange struct {
	now    time.Time
	caller caller
	app    *appCounters // of the caller; nil before it is known
	body   []byte
	items  []item

	ids    []string // what items is made from
	data   []byte   // of the item in hand
	served []uint64 // hashes of the items whose data is in answer

	answer []byte
	status int
	form   contentType
	dice   *dice
	fault  fault // of the request, or noFault
	slow   bool
}

// item is one cloudID of an exchange.
type item struct {
	id      string
	hash    uint64
	seen    uint64 // how many times before this one
	verdict verdict
	late    bool // genuine, but arrived after its lifetime
}

// reset readies x for the next request and lets go of the last one's strings.
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
	s.stats.leave() // before the answer, so that a client which keeps to a limit is never counted above it
	if !stayed {
		s.stats.gone.Add(1)
		s.settle(x, 0, 1)
		return
	}
	s.deliver(w, x)
}

// process reads r, enters its arrival in the ledger and composes the answer.
func (s *Simulator) process(x *exchange, r *http.Request) {
	if code := s.admit(x, r); code != 0 {
		s.stats.refused.Add(1)
		s.refuse(x, code)
		return
	}
	s.arrive(x)

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

// admit checks method, token, body and openid and fills in caller and ids. It returns the errcode of a request that
// does not get past it, or 0.
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
		return codeDataFormat // the client broke off; it will not read this
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

// arrive turns ids into items, enters them in the ledger and counts what a correct client never does.
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
		it.verdict = s.judge(x.caller, id, it.hash)
		if v := &it.verdict; v.genuine {
			it.late = x.now.Sub(time.UnixMilli(v.facts.issuedMs)) > s.cfg.Lifetime
			mixed = mixed || !v.theirs
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

// compose writes the answer to a request that no fault has kept from being processed.
func (s *Simulator) compose(x *exchange) {
	if s.cfg.MaxBatch > 0 && len(x.items) > s.cfg.MaxBatch {
		s.stats.refused.Add(1)
		s.refuse(x, codeInvalidArgs)
		return
	}
	for i := range x.items {
		if x.items[i].verdict.fault == faultPoison {
			s.stats.struck(faultPoison)
			s.refuse(x, codeInvalidArgs)
			return
		}
	}
	x.form = formText
	x.answer = append(x.answer, answerHead...)
	// Nothing promises the order of the request, so the answer begins anywhere.
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

// composeItem appends the entry of one item. It reports false if there is none.
func (s *Simulator) composeItem(x *exchange, it *item) bool {
	f := x.dice.first(faultMissing, faultItemBusy, it.hash, it.seen)
	if f == noFault {
		f = it.verdict.fault
	}
	if f != noFault {
		s.stats.struck(f)
	}
	code := it.verdict.code
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
		x.data = appendData(x.data[:0], it.verdict.facts, s.cfg.Seed, watermark)
		x.answer = appendDataEntry(x.answer, it.id, x.data)
	}
	return true
}
