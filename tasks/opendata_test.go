package tasks_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cloudidq/tasks"
)

func TestParseOpenData_EveryKind(t *testing.T) {
	mark := tasks.Watermark{AppID: "wx1", Timestamp: 1686993965}
	const tail = `"watermark":{"timestamp":1686993965,"appid":"wx1"}}`
	for name, tc := range map[string]struct {
		data string
		want tasks.OpenData
	}{
		"werun": {`{"stepInfoList":[{"timestamp":1603641600,"step":1234},{"timestamp":1603728000,"step":0}],` + tail,
			tasks.OpenData{WeRun: tasks.WeRun{Steps: []tasks.Step{{Timestamp: 1603641600, Step: 1234}, {Timestamp: 1603728000}}}}},
		"phone": {`{"phoneNumber":"13800000000","purePhoneNumber":"13800000000","countryCode":"86",` + tail,
			tasks.OpenData{Phone: tasks.Phone{PhoneNumber: "13800000000", PurePhoneNumber: "13800000000", CountryCode: "86"}}},
		"user": {`{"nickName":"微信用户","avatarUrl":"https:\/\/thirdwx.qlogo.cn\/0","gender":0,"city":"",` + tail,
			tasks.OpenData{User: tasks.User{NickName: "微信用户", AvatarURL: "https://thirdwx.qlogo.cn/0"}}},
		"group": {`{"opengid":"tG1",` + tail, tasks.OpenData{Group: tasks.Group{OpenGID: "tG1"}}},
		"share": {`{"openGId":"tG1",` + tail, tasks.OpenData{Group: tasks.Group{OpenGID: "tG1"}}},
		"chat_tool": {`{"open_single_roomid":"r","group_openid":"g","chat_type":3,"unknown":18446744073709551616,` + tail,
			tasks.OpenData{Group: tasks.Group{OpenSingleRoomID: "r", GroupOpenID: "g", ChatType: 3}}},
	} {
		got, err := tasks.ParseOpenData([]byte(tc.data))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		tc.want.Watermark, tc.want.Raw = mark, []byte(tc.data)
		if diff := cmp.Diff(tc.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestParseOpenData_ErrorsRepeatNothing(t *testing.T) {
	for _, data := range []string{``, `null x`, `["13812345678"]`, `{"phoneNumber":{"13812345678":1}}`, `{"phoneNumber":"13812345678"`} {
		if _, err := tasks.ParseOpenData([]byte(data)); err == nil || strings.Contains(err.Error(), "138123") {
			t.Errorf("ParseOpenData(%s) = %v, want an error without the data", data, err)
		}
	}
}

func ExampleParseOpenData() {
	data := []byte(`{"stepInfoList":[{"timestamp":1603641600,"step":1234}],"watermark":{"appid":"wx1","timestamp":1603641700}}`)
	open, err := tasks.ParseOpenData(data)
	if err != nil {
		panic(err)
	}
	for _, s := range open.Steps {
		fmt.Println(s.Day().Format("2006-01-02"), s.Step)
	}
	// Output: 2020-10-26 1234
}
