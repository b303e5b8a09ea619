package wechat_test

import (
	"testing"

	"cloudidq/internal/wechat"
)

// documented lists every documented errcode with its expected class.
var documented = map[wechat.Class][]int{
	wechat.ClassRetry:   {-1, -1000, -601001, -601003, -601008, -604102, -604103},
	wechat.ClassToken:   {40001, 40014, 42001},
	wechat.ClassRate:    {45011},
	wechat.ClassQuota:   {45009},
	wechat.ClassBatch:   {40097, 47001},
	wechat.ClassCall:    {40003, 48006, 76001, 76002, 76003, 76004, 76021, 76022},
	wechat.ClassExpired: {-601006},
	wechat.ClassItem: {-601004, -601005, -601007, -601009, -601010, -601011, -601012, -601013,
		-601015, -601016, -601017, -601018, -602018},
	wechat.ClassBug: {-601002, 41001, 43001, 43002, 43003, 44002},
	wechat.ClassApp: {40002, 40013, 40125, 40164, 40243, 41002, 41004, 42007, 45035, 48001, 48004, 48009,
		50001, 50002, 50004, 61003, 61004, 61005, 61006, 61007, 61011, 61014, 61023, 61024,
		85088, 85105, 85107, 85112, 85113, 89503, 89506, 89507, -604100, -604101, -604104},
}

func TestCodes_ContainEveryDocumentedCode(t *testing.T) {
	count := 0
	for class, codes := range documented {
		for _, code := range codes {
			count++
			row, ok := wechat.LookupCode(code)
			if !ok || row.Code != code || row.Class != class {
				t.Errorf("LookupCode(%d) = %+v, %v, want class %v", code, row, ok, class)
			}
		}
	}
	if got := len(wechat.Codes()); got != count {
		t.Errorf("len(Codes()) = %d, want %d, the number of documented codes", got, count)
	}
}

func TestCodes_RowsAreCompleteAndUnique(t *testing.T) {
	seen := map[int]bool{}
	for _, row := range wechat.Codes() {
		if seen[row.Code] {
			t.Errorf("code %d has two rows", row.Code)
		}
		seen[row.Code] = true
		if row.Text == "" {
			t.Errorf("code %d has no text", row.Code)
		}
		if row.Class == wechat.ClassApp && row.Remedy == "" {
			t.Errorf("code %d needs an operator but has no remedy", row.Code)
		}
	}
	if _, ok := wechat.LookupCode(0); ok {
		t.Error("LookupCode(0) found a row, want none, because 0 is success")
	}
}

func TestCodes_ReturnsACopy(t *testing.T) {
	wechat.Codes()[0].Class = wechat.ClassBug
	if row, _ := wechat.LookupCode(wechat.Codes()[0].Code); row.Class == wechat.ClassBug {
		t.Error("a change to the result of Codes changed the table")
	}
}

func TestClass_StringIsALabel(t *testing.T) {
	want := map[wechat.Class]string{
		0: "none", wechat.ClassRetry: "retry", wechat.ClassToken: "token", wechat.ClassRate: "rate",
		wechat.ClassQuota: "quota", wechat.ClassApp: "app", wechat.ClassBatch: "batch", wechat.ClassCall: "call",
		wechat.ClassItem: "item", wechat.ClassExpired: "expired", wechat.ClassBug: "bug", 200: "unknown",
	}
	for class, text := range want {
		if got := class.String(); got != text {
			t.Errorf("Class(%d).String() = %q, want %q", class, got, text)
		}
	}
}
