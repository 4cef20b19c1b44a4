package auth0

import (
	"google.golang.org/protobuf/proto"

	"idlog/log/source"
	eventv1 "idlog/proto/idlog/event/v1"
)

const (
	unknown    = eventv1.Outcome_STATUS_UNSPECIFIED
	success    = eventv1.Outcome_STATUS_SUCCESS
	failure    = eventv1.Outcome_STATUS_FAILURE
	denied     = eventv1.Outcome_STATUS_DENIED
	challenged = eventv1.Outcome_STATUS_CHALLENGED
)

// code is what a type code says: OCSF class_uid*100+activity_id (1.9.0-dev), OCSF severity, how it ended, which
// credential it implies, and whether details hold an API request that says more.
type code struct {
	class      int64
	severity   int64
	status     eventv1.Outcome_Status
	credential string
	request    bool
}

var codes = map[string]code{
	// Sign-in and sign-out.
	"s":                                 {3002_01, 1, success, "password", false},
	"f":                                 {3002_01, 2, failure, "password", false},
	"fp":                                {3002_01, 2, failure, "password", false},
	"fu":                                {3002_01, 2, failure, "password", false},
	"fc":                                {3002_01, 2, failure, "", false},
	"fco":                               {3002_01, 2, failure, "", false},
	"fcoa":                              {3002_01, 2, failure, "", false},
	"scoa":                              {3002_01, 1, success, "", false},
	"ssa":                               {3002_01, 1, success, "session", false},
	"fsa":                               {3002_01, 2, failure, "session", false},
	"w":                                 {3002_99, 3, unknown, "", false},
	"slo":                               {3002_02, 1, success, "", false},
	"flo":                               {3002_02, 2, failure, "", false},
	"federated_logout_failed":           {3002_02, 2, failure, "", false},
	"oidc_backchannel_logout_succeeded": {3002_02, 1, success, "", false},
	"oidc_backchannel_logout_failed":    {3002_02, 2, failure, "", false},
	"universal_logout_succeeded":        {3002_02, 1, success, "", false},
	"universal_logout_failed":           {3002_02, 2, failure, "", false},
	"ss_sso_success":                    {3004_03, 1, success, "", false},
	"ss_sso_failure":                    {3004_03, 2, failure, "", false},

	// Tokens.
	"seacft":                              {3003_01, 1, success, "authorization_code", false},
	"feacft":                              {3003_01, 2, failure, "authorization_code", false},
	"seccft":                              {3003_01, 1, success, "client_credentials", false},
	"feccft":                              {3003_01, 2, failure, "client_credentials", false},
	"sepft":                               {3003_01, 1, success, "password", false},
	"fepft":                               {3003_01, 2, failure, "password", false},
	"sertft":                              {3003_01, 1, success, "refresh_token", false},
	"fertft":                              {3003_01, 2, failure, "refresh_token", false},
	"ferrt":                               {2004_01, 4, denied, "refresh_token", false},
	"srrt":                                {3003_99, 1, success, "refresh_token", false},
	"sede":                                {3003_01, 1, success, "device_code", false},
	"fede":                                {3003_01, 2, failure, "device_code", false},
	"secte":                               {3003_01, 1, success, "token_exchange", false},
	"fecte":                               {3003_01, 2, failure, "token_exchange", false},
	"success_on_behalf_of_token_exchange": {3003_01, 1, success, "token_exchange", false},
	"failed_on_behalf_of_token_exchange":  {3003_01, 2, failure, "token_exchange", false},
	"idjag_exchange_succeeded":            {3003_01, 1, success, "id_jag", false},
	"idjag_exchange_failed":               {3003_01, 2, failure, "id_jag", false},

	// Second factors.
	"gd_start_enroll":          {3007_12, 1, challenged, "", false},
	"gd_enrollment_complete":   {3007_12, 1, success, "", false},
	"gd_unenroll":              {3007_13, 3, success, "", false},
	"gd_send_pn":               {3002_06, 1, challenged, "push", false},
	"gd_send_sms":              {3002_06, 1, challenged, "sms", false},
	"gd_send_email":            {3002_06, 1, challenged, "email", false},
	"gd_auth_succeed":          {3002_01, 1, success, "mfa", false},
	"gd_auth_failed":           {3002_01, 2, failure, "mfa", false},
	"gd_auth_rejected":         {3002_01, 3, denied, "mfa", false},
	"gd_otp_rate_limit_exceed": {2004_01, 3, denied, "otp", false},
	"gd_recovery_succeed":      {3002_01, 3, success, "recovery_code", false},
	"gd_recovery_failed":       {3002_01, 3, failure, "recovery_code", false},
	"gd_tenant_update":         {3004_03, 3, success, "", false},
	"mfar":                     {3002_06, 1, challenged, "", false},

	// Accounts.
	"ss":                          {3007_01, 1, success, "", false},
	"fs":                          {3007_01, 2, failure, "", false},
	"si":                          {3007_01, 1, success, "", false},
	"fi":                          {3007_01, 2, failure, "", false},
	"scp":                         {3007_08, 1, success, "", false},
	"fcp":                         {3007_08, 2, failure, "", false},
	"scpr":                        {3007_09, 1, success, "", false},
	"fcpr":                        {3007_09, 2, failure, "", false},
	"sce":                         {3007_02, 1, success, "", false},
	"fce":                         {3007_02, 2, failure, "", false},
	"scu":                         {3007_02, 1, success, "", false},
	"fcu":                         {3007_02, 2, failure, "", false},
	"scpn":                        {3007_02, 1, success, "", false},
	"fcpn":                        {3007_02, 2, failure, "", false},
	"sdu":                         {3007_03, 1, success, "", false},
	"fdu":                         {3007_03, 2, failure, "", false},
	"sv":                          {3007_02, 1, success, "", false},
	"fv":                          {3007_02, 2, failure, "", false},
	"organization_member_added":   {3006_03, 1, success, "", false},
	"organization_member_removed": {3006_04, 1, success, "", false},

	// Attack protection.
	"limit_wc":        {2004_01, 4, denied, "", false},
	"limit_mu":        {2004_01, 4, denied, "", false},
	"limit_sul":       {2004_01, 4, denied, "", false},
	"pwd_leak":        {2004_01, 4, denied, "password", false},
	"signup_pwd_leak": {2004_01, 4, denied, "", false},
	"reset_pwd_leak":  {2004_01, 4, denied, "", false},
	"ublkdu":          {3007_07, 1, success, "", false},
	"pla":             {2004_01, 1, unknown, "", false},

	// Administration and provisioning.
	"sapi":                       {3004_99, 1, success, "", true},
	"fapi":                       {3004_99, 2, failure, "", true},
	"mgmt_api_read":              {3004_02, 1, success, "", true},
	"kms_key_management_success": {3004_03, 4, success, "", false},
	"kms_key_management_failure": {3004_03, 4, failure, "", false},
	"kms_key_state_changed":      {3004_03, 4, success, "", false},
	"sscim":                      {3004_99, 1, success, "", true},
	"fscim":                      {3004_99, 2, failure, "", true},
	"directory_sync_succeeded":   {3004_03, 1, success, "", false},
	"directory_sync_failed":      {3004_03, 3, failure, "", false},
	"api_limit":                  {0, 3, denied, "", false},
	"api_limit_warning":          {0, 2, unknown, "", false},
	"limit_delegation":           {0, 3, denied, "", false},
}

// classify leaves an unknown type at class 0. Requests are classified further by what they asked for.
func (t *tenant) classify() {
	c := codes[t.code]
	source.Classify(t.e, c.class)
	if c.severity > 0 {
		t.e.Class.SeverityId = proto.Int64(c.severity)
	}
}
