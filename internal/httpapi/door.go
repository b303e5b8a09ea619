package httpapi

import (
	"container/list"
	"net"
	"net/netip"
	"sync"
	"time"
)

// door is the listener of a server. It bounds the connections, and keeps no newcomer out because of strangers: connections
// that have not shown a right key. Where there are too many of them, together or from one address, those that came first
// are closed, once they have had a moment to send the head of a request. So a flood, from however many addresses, holds up
// a right key for that moment at most.
type door struct {
	net.Listener
	most      int // connections at once
	strangers int // strangers at once from one address, besides those that have just come
	proxies   proxies
	moment    time.Duration // for a stranger to send the head of a request
	linger    time.Duration // for a client that was refused to take the answer
	closed    chan struct{}
	closeOnce sync.Once

	mu        sync.Mutex // guards all below, and what visitors say is
	inside    int
	unknown   *list.List                  // strangers, those that came first before the others
	near      map[netip.Prefix]*list.List // the same by [neighbours]
	lingering int
	left      chan struct{} // closed, and made anew, when a connection has left, or is no stranger any more
}

// newDoor bounds the connections of a listener. Closing it closes the listener.
func newDoor(listener net.Listener, cfg Config, p *pace) *door {
	return &door{
		Listener: listener, most: cfg.MaxConnections, strangers: strangersOf(cfg.MaxConnections), proxies: cfg.TrustedProxies,
		moment: p.moment, linger: p.linger,
		closed: make(chan struct{}), unknown: list.New(), near: make(map[netip.Prefix]*list.List), left: make(chan struct{}),
	}
}

// strangersOf is how many strangers may come from one address: a quarter of all connections. A proxy that nobody has named
// as such opens many at once, and each is a stranger until its head is read.
func strangersOf(most int) int { return max(1, most/4) }

// Accept implements [net.Listener]. While all places are taken, and no stranger has had its moment, it waits.
func (d *door) Accept() (net.Conn, error) {
	conn, err := d.Listener.Accept()
	if err != nil {
		return nil, err
	}
	peer := addressIn(conn.RemoteAddr().String())
	v := &visitor{Conn: conn, door: d, proxied: d.proxies.trust(peer)}
	for {
		out, in := d.enter(v, peer, time.Now())
		turnAway(out)
		if in.now {
			return v, nil
		}
		if !d.await(in) {
			_ = conn.Close()
			return nil, net.ErrClosed
		}
	}
}

// entry says when a connection may come in.
type entry struct {
	now  bool
	left <-chan struct{} // else: when another has left
	wait time.Duration   // or a stranger has had its moment; 0 = there is none
}

// await returns once it is worth another look; false = the door is closed.
func (d *door) await(in entry) bool {
	var moment <-chan time.Time
	if in.wait > 0 {
		timer := time.NewTimer(in.wait)
		defer timer.Stop()
		moment = timer.C
	}
	select {
	case <-in.left:
	case <-moment:
	case <-d.closed:
		return false
	}
	return true
}

// turnAway closes strangers whose places are others' now.
func turnAway(strangers []*visitor) {
	for _, v := range strangers {
		_ = v.Conn.Close()
	}
}

// Close implements [net.Listener].
func (d *door) Close() error {
	d.closeOnce.Do(func() { close(d.closed) })
	return d.Listener.Close()
}

// enter gives a connection a place, and returns strangers that are to be closed for it.
func (d *door) enter(v *visitor, peer netip.Addr, now time.Time) (out []*visitor, in entry) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.inside >= d.most {
		first := d.unknown.Front()
		if first == nil {
			return nil, entry{left: d.left}
		}
		if wait := d.momentLeft(first, now); wait > 0 {
			return nil, entry{left: d.left, wait: wait}
		}
		out = append(out, d.turnOut(first))
	}
	d.inside++
	v.inside = true
	from := neighbours(peer)
	if v.proxied { // who it is for is known with its first request
		from = netip.Prefix{}
	}
	return append(out, d.list(v, from, now)...), entry{now: true}
}

// momentLeft is how long a stranger still has to send a head.
func (d *door) momentLeft(at *list.Element, now time.Time) time.Duration {
	return d.moment - now.Sub(at.Value.(*visitor).since)
}

// list counts a connection among the strangers of an address, and returns those that have to go for it. The zero prefix
// stands for nobody's address and has no bound of its own.
func (d *door) list(v *visitor, from netip.Prefix, now time.Time) (out []*visitor) {
	if from.IsValid() {
		for near := d.near[from]; near != nil && near.Len() >= d.strangers && d.momentLeft(near.Front(), now) <= 0; {
			out = append(out, d.turnOut(near.Front()))
		}
	}
	v.from, v.since, v.among = from, now, d.unknown.PushBack(v)
	if !from.IsValid() {
		return out
	}
	near := d.near[from]
	if near == nil {
		near = list.New()
		d.near[from] = near
	}
	v.nearby = near.PushBack(v)
	return out
}

// unlist takes a connection from among the strangers.
func (d *door) unlist(v *visitor) {
	if v.among == nil {
		return
	}
	d.unknown.Remove(v.among)
	v.among = nil
	if v.nearby == nil {
		return
	}
	near := d.near[v.from]
	near.Remove(v.nearby)
	v.nearby = nil
	if near.Len() == 0 {
		delete(d.near, v.from)
	}
}

// turnOut takes the place of a stranger, who is then closed.
func (d *door) turnOut(at *list.Element) *visitor {
	v := at.Value.(*visitor)
	d.remove(v)
	return v
}

// remove frees the place of a connection.
func (d *door) remove(v *visitor) {
	d.unlist(v)
	if v.inside {
		v.inside = false
		d.inside--
	}
	d.changed()
}

// changed wakes who waits for a place.
func (d *door) changed() {
	close(d.left)
	d.left = make(chan struct{})
}

// vouch says that a connection has shown a right key.
func (d *door) vouch(v *visitor) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if v.among != nil {
		d.unlist(v)
		d.changed() // another stranger is the first now
	}
}

// meet says for which client a trusted proxy uses a connection now: a stranger, whoever was there before.
func (d *door) meet(v *visitor, client netip.Addr) {
	d.mu.Lock()
	var out []*visitor
	if v.inside {
		d.unlist(v)
		out = d.list(v, neighbours(client), time.Now())
	}
	d.mu.Unlock()
	turnAway(out)
}

// leave frees the place of a connection that ends, and reports whether it may linger.
func (d *door) leave(v *visitor, wants bool) (linger bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.remove(v)
	if !wants || d.lingering >= d.most/8 {
		return false
	}
	d.lingering++
	return true
}

// lingered says that a connection does not linger any more.
func (d *door) lingered() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lingering--
}
