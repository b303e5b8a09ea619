package httpapi

import (
	"container/list"
	"net"
	"net/netip"
	"sync"
	"time"
)

// door is the listener of a server. It limits the number of connections without locking out new
// clients. A stranger is a connection that has not yet presented a valid key.
//
// If there are too many strangers in total or from one address, door closes the oldest ones.
// Each stranger first gets a short time to send the header of a request ([pace.moment]). So a
// flood from any number of addresses delays a client with a valid key by that time at most.
type door struct {
	net.Listener
	most int // maximum number of open connections
	// strangers is the maximum number of strangers from one address, apart from those that are
	// still within moment.
	strangers int
	proxies   proxies
	moment    time.Duration // time for a stranger to send the header of a request
	linger    time.Duration // time for a rejected client to read the response
	closed    chan struct{}
	closeOnce sync.Once

	mu sync.Mutex // guards the fields below, and the visitor fields that say so
	// inside is the number of open connections, and lingering the number of closed ones that
	// linger.
	inside    int
	unknown   *list.List                  // strangers, the oldest first
	near      map[netip.Prefix]*list.List // strangers by [neighbours], the oldest first
	lingering int
	// left is closed and replaced when a connection leaves, or stops being a stranger.
	left chan struct{}
}

// newDoor returns a door that limits the connections of a listener. Closing the door closes the
// listener.
func newDoor(listener net.Listener, cfg Config, p *pace) *door {
	return &door{
		Listener: listener, most: cfg.MaxConnections, strangers: strangersOf(cfg.MaxConnections), proxies: cfg.TrustedProxies,
		moment: p.moment, linger: p.linger,
		closed: make(chan struct{}), unknown: list.New(), near: make(map[netip.Prefix]*list.List), left: make(chan struct{}),
	}
}

// strangersOf returns how many strangers may come from one address: a quarter of all
// connections. A proxy that is not in [Config.TrustedProxies] opens many connections at once.
// Each of them is a stranger until its header is read.
func strangersOf(most int) int { return max(1, most/4) }

// Accept implements [net.Listener]. It waits while all places are taken and every stranger is
// still within its time to send a header.
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

// entry says whether a connection may enter now, or what it must wait for.
type entry struct {
	now  bool
	left <-chan struct{} // if not now: closed when another connection leaves
	wait time.Duration   // time until the oldest stranger may be closed; 0 = no stranger
}

// await waits until enter is worth another call. It reports false if the door is closed.
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

// turnAway closes strangers that have lost their places.
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

// enter gives a connection a place. It returns the strangers that the caller must close to make
// room.
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
	if v.proxied { // the first request shows which client the proxy serves
		from = netip.Prefix{}
	}
	return append(out, d.list(v, from, now)...), entry{now: true}
}

// momentLeft returns how long a stranger still has to send a header.
func (d *door) momentLeft(at *list.Element, now time.Time) time.Duration {
	return d.moment - now.Sub(at.Value.(*visitor).since)
}

// list adds a connection to the strangers of an address. It returns the strangers that the
// caller must close to make room. The zero prefix means that the address is unknown, and has no
// limit of its own. The caller holds d.mu.
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

// unlist removes a connection from the strangers. The caller holds d.mu.
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

// turnOut removes a stranger and returns it. The caller closes it after it has released d.mu.
func (d *door) turnOut(at *list.Element) *visitor {
	v := at.Value.(*visitor)
	d.remove(v)
	return v
}

// remove frees the place of a connection. The caller holds d.mu.
func (d *door) remove(v *visitor) {
	d.unlist(v)
	if v.inside {
		v.inside = false
		d.inside--
	}
	d.changed()
}

// changed wakes all goroutines that wait for a place. The caller holds d.mu.
func (d *door) changed() {
	close(d.left)
	d.left = make(chan struct{})
}

// vouch marks a connection as no longer a stranger, because it has presented a valid key.
func (d *door) vouch(v *visitor) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if v.among != nil {
		d.unlist(v)
		d.changed() // the oldest stranger may be a different one now
	}
}

// meet records the client that a trusted proxy now uses a connection for. The connection becomes
// a stranger again, even if its previous client had a valid key.
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

// leave frees the place of a connection that closes. It reports whether the connection may linger.
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

// lingered records that a connection has stopped lingering.
func (d *door) lingered() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lingering--
}
