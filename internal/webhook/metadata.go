package webhook

import (
	"errors"
	"net/netip"
)

// errMetadata is the error for addresses of metadata services. These services hand out the
// credentials of the machine, so their addresses stay blocked even inside a range of allow_cidrs.
var errMetadata = errors.New("webhook: an address of the cloud's metadata service")

// metadata are the addresses of the metadata services.
var metadata = []netip.Addr{
	netip.MustParseAddr("169.254.169.254"), // AWS, GCP, Azure, Tencent Cloud, Oracle Cloud
	// AWS ECS, credentials of a task:
	// docs.aws.amazon.com/AmazonECS/latest/developerguide/task-iam-roles.html
	netip.MustParseAddr("169.254.170.2"),
	// AWS EKS, credentials of a pod, by IPv4 and IPv6:
	// docs.aws.amazon.com/eks/latest/userguide/pod-id-how-it-works.html
	netip.MustParseAddr("169.254.170.23"),
	netip.MustParseAddr("fd00:ec2::23"),
	netip.MustParseAddr("fd00:ec2::254"),   // AWS
	netip.MustParseAddr("fd20:ce::254"),    // GCP: cloud.google.com/compute/docs/metadata/querying-metadata
	netip.MustParseAddr("192.0.0.192"),     // Oracle Cloud, former address
	netip.MustParseAddr("100.100.100.200"), // Alibaba Cloud
	netip.MustParseAddr("168.63.129.16"),   // Azure's wire server
	netip.MustParseAddr("169.254.0.23"),    // Tencent Cloud
	netip.MustParseAddr("fe80::a9fe:a9fe"), // OpenStack
}

// isMetadata reports whether an address leads to a metadata service. It may be the address
// itself, or an IPv6 address that a translator or a tunnel maps to it.
func isMetadata(address netip.Addr) bool {
	address = address.Unmap().WithZone("") // IPv4-mapped, ::ffff:0:0/96: RFC 4291, section 2.5.5.2
	for _, closed := range metadata {
		if address == closed || closed.Is4() && leadsTo(address, closed) {
			return true
		}
	}
	return false
}

// embedding is a range of IPv6 addresses that contain an IPv4 address.
type embedding struct {
	within netip.Prefix
	at     [4]int // positions of the four IPv4 bytes
	mask   byte   // each byte is XORed with it
}

// embeddings are the fixed ranges. A network may also use a NAT64 prefix of its own, which
// cloudidq cannot know. allow_cidrs should not open such a prefix.
var embeddings = []embedding{
	{netip.MustParsePrefix("::/96"), [4]int{12, 13, 14, 15}, 0},           // IPv4-compatible: RFC 4291, section 2.5.5.1
	{netip.MustParsePrefix("::ffff:0:0:0/96"), [4]int{12, 13, 14, 15}, 0}, // IPv4-translated: RFC 2765, section 2.1
	{netip.MustParsePrefix("64:ff9b::/96"), [4]int{12, 13, 14, 15}, 0},    // NAT64: RFC 6052, section 2.1
	// For NAT64 in 64:ff9b:1::/48 (RFC 8215), the positions depend on the length of the prefix:
	// RFC 6052, section 2.2.
	{netip.MustParsePrefix("64:ff9b:1::/48"), [4]int{6, 7, 9, 10}, 0},    // /48
	{netip.MustParsePrefix("64:ff9b:1::/48"), [4]int{7, 9, 10, 11}, 0},   // /56
	{netip.MustParsePrefix("64:ff9b:1::/48"), [4]int{9, 10, 11, 12}, 0},  // /64
	{netip.MustParsePrefix("64:ff9b:1::/48"), [4]int{12, 13, 14, 15}, 0}, // /96
	{netip.MustParsePrefix("2002::/16"), [4]int{2, 3, 4, 5}, 0},          // 6to4: RFC 3056, section 2
	{netip.MustParsePrefix("2001::/32"), [4]int{12, 13, 14, 15}, 0xff},   // Teredo, the client: RFC 4380, section 4
	{netip.MustParsePrefix("2001::/32"), [4]int{4, 5, 6, 7}, 0},          // Teredo, the server
}

// leadsTo reports whether an IPv6 address contains the IPv4 address v4.
func leadsTo(address, v4 netip.Addr) bool {
	bytes, want := address.As16(), v4.As4()
	for _, e := range embeddings {
		if !e.within.Contains(address) {
			continue
		}
		var got [4]byte
		for i, at := range e.at {
			got[i] = bytes[at] ^ e.mask
		}
		if got == want {
			return true
		}
	}
	return false
}
