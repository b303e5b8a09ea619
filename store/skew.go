package store

import "time"

// skewTries is how often a server is asked for its clock; the shortest way there and back says most.
const skewTries = 3

// skew returns how far a server's clock is ahead of this machine's, as of the middle of the way there and back. It is off by
// half of that way at most. now is [time.Now].
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
