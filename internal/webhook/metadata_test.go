package webhook_test

import (
	"fmt"
	"net/netip"
	"testing"

	"cloudidq/internal/webhook"
)

// everything is a list of ranges that contains every address.
var everything = []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}

// The addresses of the services that hand out the credentials of the machine, of a
// container or of a pod.
var (
	metadata4 = []string{
		"169.254.169.254", "169.254.170.2", "169.254.170.23", "192.0.0.192", "100.100.100.200", "168.63.129.16", "169.254.0.23",
	}
	metadata6 = []string{"fd00:ec2::254", "fd00:ec2::23", "fd20:ce::254", "fe80::a9fe:a9fe"}
)

// No range of allow_cidrs allows an address of a metadata service, in any form of the address.
func TestGuard_MetadataIsAlwaysBlocked(t *testing.T) {
	var spellings []string
	for _, text := range metadata4 {
		b := netip.MustParseAddr(text).As4()
		high, low := int(b[0])<<8|int(b[1]), int(b[2])<<8|int(b[3])
		spellings = append(spellings, text,
			fmt.Sprintf("::ffff:%s", text),                                             // IPv4-mapped
			fmt.Sprintf("::ffff:%x:%x", high, low),                                     // the same in hex
			fmt.Sprintf("::%x:%x", high, low),                                          // IPv4-compatible
			fmt.Sprintf("::ffff:0:%x:%x", high, low),                                   // IPv4-translated
			fmt.Sprintf("64:ff9b::%s", text),                                           // NAT64
			fmt.Sprintf("64:ff9b::%x:%x", high, low),                                   //
			fmt.Sprintf("64:ff9b:1::%x:%x", high, low),                                 // NAT64 of local use, /96
			fmt.Sprintf("64:ff9b:1:7:8:9:%x:%x", high, low),                            //
			fmt.Sprintf("64:ff9b:1:%x:%x:%x00::", high, b[2], b[3]),                    // /48
			fmt.Sprintf("64:ff9b:1:ab%02x:%x:%x:0:0", b[0], b[1], low),                 // /56
			fmt.Sprintf("64:ff9b:1:abcd:%x:%02x%02x:%02x00:0", b[0], b[1], b[2], b[3]), // /64
			fmt.Sprintf("2002:%x:%x::", high, low),                                     // 6to4
			fmt.Sprintf("2002:%x:%x:1:2:3:4:5", high, low),                             //
			fmt.Sprintf("2001:0:102:304:0:0:%x:%x", high^0xffff, low^0xffff),           // Teredo, the client
			fmt.Sprintf("2001:0:%x:%x::", high, low),                                   // Teredo, the server
		)
	}
	spellings = append(append(spellings, metadata6...), "fe80::a9fe:a9fe%eth0")
	for _, text := range spellings {
		address, err := netip.ParseAddr(text)
		if err != nil {
			t.Fatal(err)
		}
		if err := webhook.MayDial(everything, address); !webhook.IsMetadata(err) {
			t.Errorf("%s: %v, want it blocked", text, err)
		}
		if err := webhook.MayDial(nil, address); err == nil {
			t.Errorf("%s may be dialed without AllowCIDRs", text)
		}
	}
}

// Other addresses in an allowed range can be dialed: the neighbors of the metadata addresses,
// and translated addresses of other hosts.
func TestGuard_AllowsOtherAddresses(t *testing.T) {
	for _, text := range []string{
		"169.254.169.253", "169.254.170.3", "192.0.0.193", "10.0.0.1", "fd20:ce::253", "64:ff9b::a00:1", "64:ff9b:1::a00:1",
		"2002:a00:1::", "::ffff:10.0.0.1", "::1",
	} {
		if err := webhook.MayDial(everything, netip.MustParseAddr(text)); err != nil {
			t.Errorf("%s: %v, want it allowed", text, err)
		}
	}
}
