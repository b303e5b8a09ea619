package store

import "time"

// skewTries is how many times skew reads the server's clock. The shortest round trip gives the
// most exact result.
const skewTries = 3

// skew returns how far a server's clock is ahead of this machine's clock. It assumes that the
// server reads its clock in the middle of the round trip, so the result is off by half a round
// trip at most. now is [time.Now]; ask returns the server's time.
func skew(now func() time.Time, ask func() (time.Time, error)) (ahead time.Duration, err error) {
	var shortest time.Duration
	for try := range skewTries {
		asked := now()
		server, err := ask()
		if err != nil {
			return 0, err
		}
		way := now().Sub(asked)
		if try == 0 || way < shortest {
			shortest, ahead = way, server.Sub(asked.Add(way/2))
		}
	}
	return ahead, nil
}
