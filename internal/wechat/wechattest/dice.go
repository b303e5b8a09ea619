package wechattest

// dice decides which faults strike. A throw is a hash of the seed, the fault, the cloudID and
// the number of times the cloudID was seen. Therefore it is the same in every run, in whatever
// order the requests arrive. A dice is immutable.
type dice struct {
	salt  [numFaults]uint64
	below [numFaults]uint64 // a fault strikes if its 53-bit throw is below this value
}

// newDice returns dice for faults, which must be valid.
func newDice(seed uint64, faults Faults) dice {
	var d dice
	for i, info := range FaultNames() {
		d.salt[i] = mix(seed ^ hashString(info.Name))
		d.below[i] = uint64(faults[info.Name] * (1 << 53))
	}
	return d
}

// strikes reports whether f strikes the cloudID with the hash id when it is seen for the n-th
// time.
func (d *dice) strikes(f fault, id, n uint64) bool {
	if d.below[f] == 0 {
		return false
	}
	return mix((id^d.salt[f])+n*golden)>>11 < d.below[f]
}

// first returns the first fault between from and to (both included) that strikes, or noFault.
func (d *dice) first(from, to fault, id, n uint64) fault {
	for f := from; f <= to; f++ {
		if d.strikes(f, id, n) {
			return f
		}
	}
	return noFault
}

// golden is 2^64 divided by the golden ratio, the step of SplitMix64.
const golden = 0x9e3779b97f4a7c15

// mix is the finalizer of SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number
// generators, 2014).
func mix(x uint64) uint64 {
	x += golden
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// hashString is FNV-1a with a finalizer. It is fast for the 62 bytes of a cloudID and returns
// the same value in every process.
func hashString(s string) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(s) {
		h = (h ^ uint64(s[i])) * 1099511628211
	}
	return mix(h)
}
