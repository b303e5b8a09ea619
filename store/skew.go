package store

import "time"

// skewReads is how many times skew reads the server's clock. The shortest round trip gives the
// most exact result.
const skewReads = 3

// skew returns how far a server's clock is ahead of this machine's clock. It assumes that the
// server reads its clock in the middle of the round trip, so the result is off by half a round
// trip at most. now is [time.Now]; read returns the server's time.
func skew(now func() time.Time, read func() (time.Time, error)) (ahead time.Duration, err error) {
	var shortest time.Duration
	for i := range skewReads {
		sent := now()
		server, err := read()
		if err != nil {
			return 0, err
		}
		trip := now().Sub(sent)
		if i == 0 || trip < shortest {
			shortest, ahead = trip, server.Sub(sent.Add(trip/2))
		}
	}
	return ahead, nil
}
