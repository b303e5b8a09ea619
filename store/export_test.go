package store

// What the external tests see of the codec.
const HeaderLen = headerLen

// Encode returns rec's stored form, unclaimed.
func Encode(taskID string, rec Record) ([]byte, error) {
	return newEncoder(1024).value(owner(taskID), unclaimed, &rec)
}

// Decode reads a stored value.
func Decode(value, appID, cloudID string) (Record, bool) { return decode(value, appID, cloudID) }

// Keys returns the keys of cloudIDs.
func Keys(appID string, cloudIDs ...string) []string {
	return keys(appID, len(cloudIDs), func(i int) string { return cloudIDs[i] })
}
